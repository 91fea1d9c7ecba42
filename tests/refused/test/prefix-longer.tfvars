# A prefix that begins with another environment's.
# expect: envs/test.tfvars: env_prefix: found "x-staging-eu", envs/staging.tfvars has "x-staging"; give prefixes of which none begins with another, and at most one that is empty
environment = "test"
env_prefix = "x-staging-eu"
base_domain = "example.com"
components = []
