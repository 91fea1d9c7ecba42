# L3 and L4 of staging: what a bare `atlantis apply` applies.
# Every key and its default: docs/settings.md

environment = "staging"
env_prefix  = "x-staging"
base_domain = "example.com"
components  = ["postgres", "redis", "signoz"]

postgres = {
  instances = 1
  memory    = "512Mi"
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
