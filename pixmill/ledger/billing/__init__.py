"""What was spent, and whether the provider's console says the same."""
