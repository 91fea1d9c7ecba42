# A domain with a line end at its end.
# expect: envs/staging.tfvars: base_domain: found "example.com\n"; give a domain such as example.com
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com\n"
components = []
