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
  services = {
    web                     = { cpu = "500m", memory = "3Gi", replicas = 2 }
    worker                  = { cpu = "300m", memory = "4Gi" }
    capture                 = { cpu = "100m", memory = "256Mi", replicas = 5 }
    replay_capture          = { cpu = "75m", memory = "320Mi" }
    feature_flags           = { cpu = "75m", memory = "320Mi" }
    hypercache_server       = { cpu = "50m", memory = "128Mi" }
    ingestion_general       = { cpu = "300m", memory = "1536Mi", replicas = 2 }
    ingestion_sessionreplay = { cpu = "150m", memory = "1Gi" }
    property_defs           = { cpu = "50m", memory = "256Mi" }
    plugins                 = { cpu = "150m", memory = "1Gi" }
    recording_api           = { cpu = "75m", memory = "640Mi" }
    personhog_replica       = { cpu = "50m", memory = "128Mi" }
    personhog_router        = { cpu = "50m", memory = "96Mi" }
  }
  clickhouse = {
    cpu     = "2"
    memory  = "8Gi"
    storage = "80Gi"
  }
  kafka   = { cpu = "200m", memory = "2Gi", storage = "30Gi", retention_size = "200Mi" }
  redis   = { cpu = "75m", memory = "768Mi", storage = "4Gi" }
  valkey  = { cpu = "50m", memory = "192Mi" }
  objects = { cpu = "75m", memory = "768Mi", storage = "30Gi" }
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
