# Two settings of an object in one line without a comma.
# expect: envs/staging.tfvars: line 7: begin a new line before this name
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { cpu = "1" memory = "1Gi" }
