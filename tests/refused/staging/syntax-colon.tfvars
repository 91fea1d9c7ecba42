# A colon, as in YAML.
# expect: envs/staging.tfvars: line 7: not valid HCL; write settings as: name = "value"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis: {}
