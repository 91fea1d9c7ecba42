# A name that begins an expression.
# expect: envs/staging.tfvars: line 7: for begins an expression; write the name in quotes: "for"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { for = "1Gi" }
