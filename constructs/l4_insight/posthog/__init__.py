"""PostHog, by its parts."""
