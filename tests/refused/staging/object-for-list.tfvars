# An object where a list is wanted.
# expect: envs/staging.tfvars: components: found {"redis": true} (an object); give a list
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = { redis = true }
