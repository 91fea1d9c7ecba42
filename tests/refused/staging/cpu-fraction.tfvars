# CPU as a decimal fraction.
# expect: envs/staging.tfvars: redis.cpu: found "0.5"; give CPU cores such as 2, or thousandths such as 500m
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { cpu = "0.5" }
