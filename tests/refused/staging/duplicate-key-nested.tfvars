# A key twice in an object.
# expect: envs/staging.tfvars: line 9: memory is given twice; keep one
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = {
  memory = "256Mi"
  "memory" = "1Gi"
}
