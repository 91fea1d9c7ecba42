# PostHog without the Postgres that its database is in.
# expect: envs/staging.tfvars: components: posthog needs postgres, where its database is; add it to components
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["posthog"]
postgres = { memory = "1Gi" }
posthog = {
  clickhouse = { memory = "2Gi", storage = "10Gi" }
  kafka      = { memory = "1344Mi", storage = "6Gi", retention_size = "32Mi" }
  objects    = { memory = "256Mi", storage = "5Gi" }
  redis      = { memory = "256Mi", storage = "1Gi" }
}
