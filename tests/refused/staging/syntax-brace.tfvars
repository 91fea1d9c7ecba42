# A brace that is not closed.
# expect: envs/staging.tfvars: line 8: not valid HCL; write settings as: name = "value"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = {
