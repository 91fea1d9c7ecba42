# A generation that would be restored from itself.
# expect: envs/staging.tfvars: postgres_recovery: found {"generation": 2, "source": 2}; give a generation that is higher than its source: each is restored from one before it
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
backups = { bucket = "strata" }
postgres_recovery = { generation = 2, source = 2 }
