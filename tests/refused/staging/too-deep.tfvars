# Objects nested eleven deep.
# expect: envs/staging.tfvars: line 7: nested more than 10 levels deep; no setting is
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { a = { a = { a = { a = { a = { a = { a = { a = { a = { a = {} } } } } } } } } } }
