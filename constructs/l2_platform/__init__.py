"""L2 Platform: what all environments stand on."""
