# Everything switched on, and no size a default: the budget is held to what is made of it.

environment = "staging"
env_prefix  = "x-staging"
base_domain = "example.com"
components  = ["posthog", "postgres", "redis", "signoz"]

backups = {
  bucket = "saved"
}

postgres = {
  instances   = 3
  cpu         = "750m"
  memory      = "3Gi"
  storage     = "30Gi"
  wal_storage = "5Gi"
  clients     = ["shop-staging"]
  pooler      = { instances = 2, cpu = "20m", memory = "96Mi" }
}

postgres_recovery = {
  generation = 3
  source     = 1
  keep       = [1, 2]
}

posthog = {
  clickhouse = {
    cpu     = "2"
    memory  = "8Gi"
    storage = "80Gi"
  }
}

redis = {
  replicas = 3
  cpu      = "150m"
  memory   = "768Mi"
  storage  = "3Gi"
  clients  = ["shop-staging"]
}

signoz = {
  cpu     = "200m"
  memory  = "768Mi"
  storage = "2Gi"
  clients = ["shop-staging"]
  collector = {
    cpu    = "300m"
    memory = "896Mi"
  }
  alerts = {
    channel = "webhook"
  }
  clickhouse = {
    cpu     = "1"
    memory  = "6Gi"
    storage = "60Gi"
  }
}
