"""What one request is: operation schemas, canonical JSON, fingerprint (job key, seeds), prompt template, sweep."""
