"""L1 Bootstrap: what the cluster itself is made of."""
