# A size without a unit.
# expect: envs/staging.tfvars: redis.storage: found "10"; give a size such as 512Mi, 10Gi or 1Ti
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { storage = "10" }
