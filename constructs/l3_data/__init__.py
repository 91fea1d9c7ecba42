"""L3 Data: an environment's stores."""
