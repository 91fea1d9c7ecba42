# The prefix of another environment.
# expect: envs/staging.tfvars: env_prefix: found "x-test", envs/test.tfvars has "x-test"; give prefixes of which none begins with another, and at most one that is empty
environment = "staging"
env_prefix = "x-test"
base_domain = "example.com"
components = []
