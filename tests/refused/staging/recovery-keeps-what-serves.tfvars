# A generation that serves, and is kept without pods.
# expect: envs/staging.tfvars: postgres_recovery: found {"generation": 2, "source": 1, "keep": [1, 2]}; give each generation once: the one that serves, or in keep
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
backups = { bucket = "strata" }
postgres_recovery = { generation = 2, source = 1, keep = [1, 2] }
