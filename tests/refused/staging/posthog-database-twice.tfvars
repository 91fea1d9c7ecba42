# A database of the name that PostHog's has.
# expect: envs/staging.tfvars: postgres.databases: posthog is PostHog's own database; give another name
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["posthog", "postgres"]
postgres = { memory = "1Gi", databases = { posthog = {} } }
posthog = {
  clickhouse = { memory = "2Gi", storage = "10Gi" }
  kafka      = { memory = "1344Mi", storage = "6Gi", retention_size = "32Mi" }
  objects    = { memory = "256Mi", storage = "5Gi" }
  redis      = { memory = "256Mi", storage = "1Gi" }
}
