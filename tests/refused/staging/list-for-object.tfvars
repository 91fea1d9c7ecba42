# A list where an object is wanted.
# expect: envs/staging.tfvars: redis: found ["1Gi"] (a list); give an object
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = ["1Gi"]
