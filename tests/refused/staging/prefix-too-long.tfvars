# A prefix that leaves no room in a host name.
# expect: envs/staging.tfvars: env_prefix: found 34 characters; give at most 30 characters
environment = "staging"
env_prefix = "x-staging-of-the-team-in-the-north"
base_domain = "example.com"
components = []
