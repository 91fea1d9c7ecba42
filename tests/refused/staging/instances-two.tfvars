# Two instances, which cannot agree on a primary.
# expect: envs/staging.tfvars: postgres.instances: found 2; give 1, 3 or 5
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres = { instances = 2 }
