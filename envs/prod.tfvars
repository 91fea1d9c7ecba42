# L3 and L4 of prod, by `atlantis apply -p prod`.
# Every key and its default: docs/reference/settings.md

environment = "prod"
env_prefix  = ""
base_domain = "example.com"
components  = ["posthog", "postgres", "redis", "signoz"]

postgres = {
  instances = 1 # 3 where there are three nodes
  memory    = "2Gi"
  storage   = "20Gi"
}

redis = {
  memory  = "1Gi"
  storage = "5Gi"
}

signoz = {
  clickhouse = {
    memory  = "4Gi"
    storage = "100Gi"
  }
}
