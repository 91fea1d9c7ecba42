# A component that there is not.
# expect: envs/staging.tfvars: components.1: found "mysql"; give "posthog", "postgres", "redis" or "signoz"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["redis", "mysql"]
