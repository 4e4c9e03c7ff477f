"""Whether output images are any good: checks, scorers, and what they found."""
