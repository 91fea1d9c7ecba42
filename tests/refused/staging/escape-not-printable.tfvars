# An escaped character that is not printable.
# expect: envs/staging.tfvars: line 5: found an escaped character; use printable ASCII only
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com\u0000"
components = []
