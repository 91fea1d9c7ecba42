# PostHog on a Postgres with too few connections, which is its default size.
# expect: envs/staging.tfvars: postgres.memory: found "512Mi"; give 1024Mi or more: there is a connection for every 8Mi
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["posthog", "postgres"]
posthog = {
  clickhouse = { memory = "2Gi", storage = "10Gi" }
  kafka      = { memory = "1344Mi", storage = "6Gi", retention_size = "32Mi" }
  objects    = { memory = "256Mi", storage = "5Gi" }
  redis      = { memory = "256Mi", storage = "1Gi" }
}
