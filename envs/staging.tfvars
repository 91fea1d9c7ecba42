# L3 and L4 of staging: what a bare `atlantis apply` applies.
# Every key and its default: docs/reference/settings.md

environment = "staging"
env_prefix  = "x-staging"
base_domain = "example.com"
components  = ["posthog", "postgres", "redis", "signoz"]

postgres = {
  instances = 1
  memory    = "1Gi" # PostHog opens a hundred connections
  storage   = "5Gi"
}

redis = {
  memory  = "256Mi"
  storage = "1Gi"
}

signoz = {
  clickhouse = {
    memory  = "2Gi"
    storage = "20Gi"
  }
}

# As small as PostHog gets: 10Gi of it are processes that need what they need.
posthog = {
  clickhouse = { memory = "2Gi", storage = "10Gi" }
  kafka      = { memory = "1344Mi", storage = "6Gi", retention_size = "32Mi" }
  objects    = { memory = "256Mi", storage = "5Gi" }
  redis      = { memory = "256Mi", storage = "1Gi" }
  services = {
    ingestion_general       = { memory = "768Mi" }
    ingestion_sessionreplay = { memory = "512Mi" }
    plugins                 = { memory = "512Mi" }
    recording_api           = { memory = "384Mi" }
  }
}
