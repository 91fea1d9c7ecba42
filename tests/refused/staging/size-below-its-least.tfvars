# Less memory than Postgres starts with.
# expect: envs/staging.tfvars: postgres.memory: found "128Mi"; give at least 256Mi
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres = { memory = "128Mi" }
