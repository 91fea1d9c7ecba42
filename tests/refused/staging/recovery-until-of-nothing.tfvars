# A time to restore to, and nothing to restore from.
# expect: envs/staging.tfvars: postgres_recovery: found {"generation": 2, "until": "2026-11-23T04:00:00Z"}; give the source of what is restored until then
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres_recovery = { generation = 2, until = "2026-11-23T04:00:00Z" }
