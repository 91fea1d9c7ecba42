# L3 and L4 of test: a place to break things, by `atlantis apply -p test`.
# Every key and its default: docs/reference/settings.md

environment = "test"
env_prefix  = "x-test"
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
    storage = "10Gi"
  }
}
