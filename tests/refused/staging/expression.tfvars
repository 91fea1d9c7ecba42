# An expression.
# expect: envs/staging.tfvars: line 7: found an expression; write the value itself, and text in quotes
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { credentials_revision = 1 + 1 }
