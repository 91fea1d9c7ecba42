# A block.
# expect: envs/staging.tfvars: line 7: found a block; write settings as: name = { ... }
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis {
  memory = "1Gi"
}
