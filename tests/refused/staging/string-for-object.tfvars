# A text where an object is wanted.
# expect: envs/staging.tfvars: signoz.clickhouse: found "2Gi" (a string); give an object
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
signoz = { clickhouse = "2Gi" }
