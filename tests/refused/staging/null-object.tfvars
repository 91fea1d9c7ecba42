# Nothing, in the place of an object.
# expect: envs/staging.tfvars: redis: found null (nothing); give an object
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = null
