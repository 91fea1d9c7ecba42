# A misspelt key in an object in an object.
# expect: envs/staging.tfvars: signoz.clickhouse.stroage: unknown key; did you mean storage?
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
signoz = { clickhouse = { stroage = "1Gi" } }
