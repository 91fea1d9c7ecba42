# Two settings in one line.
# expect: envs/staging.tfvars: line 7: begin a new line before this name
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = {} postgres = {}
