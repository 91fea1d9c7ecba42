# A volume for the log that the log would fill.
# expect: envs/staging.tfvars: postgres.wal_storage: found "1Gi"; give at least 2048Mi
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres = { wal_storage = "1Gi" }
