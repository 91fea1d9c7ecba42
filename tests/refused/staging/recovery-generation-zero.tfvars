# A generation before the first.
# expect: envs/staging.tfvars: postgres_recovery.generation: found 0; give at least 1
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres_recovery = { generation = 0 }
