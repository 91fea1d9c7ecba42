# A time without its zone.
# expect: envs/staging.tfvars: postgres_recovery.until: found "2026-11-23T04:00:00"; give a time such as 2030-01-02T03:04:05Z, or ""
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
backups = { bucket = "strata" }
postgres_recovery = { generation = 2, source = 1, until = "2026-11-23T04:00:00" }
