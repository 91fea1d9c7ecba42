# Everything switched on, and no size a default: the budget is held to what is made of it.

environment = "staging"
env_prefix  = "x-staging"
base_domain = "example.com"
components  = ["postgres", "redis", "signoz"]

postgres = {
  instances = 3
  cpu       = "750m"
  memory    = "3Gi"
  storage   = "30Gi"
}

redis = {
  cpu     = "150m"
  memory  = "768Mi"
  storage = "3Gi"
}

signoz = {
  cpu     = "200m"
  memory  = "768Mi"
  storage = "2Gi"
  collector = {
    cpu    = "300m"
    memory = "896Mi"
  }
  clickhouse = {
    cpu     = "1"
    memory  = "6Gi"
    storage = "60Gi"
  }
}

backups = {
  bucket = "backups"
}
