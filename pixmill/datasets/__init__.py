"""What is published, and what is made of it: exports, comparisons, the report."""
