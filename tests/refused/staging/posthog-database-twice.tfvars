# A database of the name that PostHog's has.
# expect: envs/staging.tfvars: postgres.databases: posthog is PostHog's own database; give another name
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["posthog", "postgres"]
postgres = { memory = "1Gi", databases = { posthog = {} } }
