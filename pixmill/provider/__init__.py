"""Who answers: signed Volcengine calls, a Bearer gateway, or the built-in simulator."""
