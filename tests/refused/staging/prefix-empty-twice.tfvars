# A second environment without a prefix.
# expect: envs/prod.tfvars: env_prefix: found "", envs/staging.tfvars has ""; give prefixes of which none begins with another, and at most one that is empty
environment = "staging"
env_prefix = ""
base_domain = "example.com"
components = []
