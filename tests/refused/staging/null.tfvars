# Nothing, where a text is wanted.
# expect: envs/staging.tfvars: base_domain: found null (nothing); give a string
environment = "staging"
env_prefix = "x-staging"
base_domain = null
components = []
