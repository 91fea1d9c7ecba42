# A size in a unit that is not one of three.
# expect: envs/staging.tfvars: redis.storage: found "10GB"; give a size such as 512Mi, 10Gi or 1Ti
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { storage = "10GB" }
