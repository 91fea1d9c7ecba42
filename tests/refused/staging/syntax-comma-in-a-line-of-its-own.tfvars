# A comma in the line after the value.
# expect: envs/staging.tfvars: line 9: put the comma right after the value
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = {
  cpu = "1"
  , memory = "1Gi"
}
