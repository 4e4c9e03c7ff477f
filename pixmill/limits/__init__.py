"""How fast and how many at once: rate, calls in flight, outages, repeats, shares of an account."""
