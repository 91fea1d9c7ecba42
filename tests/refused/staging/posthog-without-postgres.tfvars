# PostHog without the Postgres that its database is in.
# expect: envs/staging.tfvars: components: posthog needs postgres, where its database is; add it to components
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["posthog"]
postgres = { memory = "1Gi" }
