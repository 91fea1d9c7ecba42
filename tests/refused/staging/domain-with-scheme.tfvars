# An address where a domain is wanted.
# expect: envs/staging.tfvars: base_domain: found "https://example.com"; give a domain such as example.com
environment = "staging"
env_prefix = "x-staging"
base_domain = "https://example.com"
components = []
