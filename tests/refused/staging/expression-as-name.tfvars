# An expression in the place of a name.
# expect: envs/staging.tfvars: line 7: found an expression in the place of a name; write the name
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { (var.key) = "1Gi" }
