# A name that is no text.
# expect: envs/staging.tfvars: environment: found ["staging"]; this file is for "staging": both must agree
# expect: envs/staging.tfvars: environment: found ["staging"] (a list); give a string
environment = ["staging"]
env_prefix = "x-staging"
base_domain = "example.com"
components = []
