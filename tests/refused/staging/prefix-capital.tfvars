# A prefix that is no part of a host name.
# expect: envs/staging.tfvars: env_prefix: found "X_staging"; give a prefix of lower-case letters, digits and dashes such as x-staging, or ""
environment = "staging"
env_prefix = "X_staging"
base_domain = "example.com"
components = []
