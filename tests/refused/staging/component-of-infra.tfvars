# A component of infra in an environment.
# expect: envs/staging.tfvars: components.0: found "dashboard"; give "posthog", "postgres", "redis" or "signoz"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["dashboard"]
