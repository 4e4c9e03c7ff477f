"""How fast and how many at once: rate, concurrency, circuit breaker, retry budget, shares of an account."""
