"""L4 Insight: what an environment knows about itself and its users."""
