# Everything switched on, and no size a default: the budget is held to what is made of it.

environment = "infra"
env_prefix  = ""
base_domain = "example.com"
components  = ["atlantis", "certificates", "dashboard", "database", "dns", "kubero", "operators", "telemetry", "vault"]

atlantis = {
  cpu     = "200m"
  memory  = "2Gi"
  storage = "6Gi"
}

backups = {
  bucket = "saved"
}

dashboard = {
  cpu    = "30m"
  memory = "192Mi"
}

database = {
  instances = 3
  cpu       = "250m"
  memory    = "1Gi"
  storage   = "12Gi"
  databases = {
    shop = { clients = ["shop-prod", "shop-staging", "shop-test"] }
  }
}

dns = {
  cpu      = "20m"
  memory   = "160Mi"
  provider = "webhook"
  webhook = {
    repository = "registry.example.com/dns-webhook"
    tag        = "1.0.0"
  }
}

k3s_servers = [
  { name = "one", host = "192.0.2.1" },
  { name = "two", host = "192.0.2.2" },
  { name = "three", host = "192.0.2.3" },
]

k3s_agents = [
  { name = "four", host = "192.0.2.4" },
]

kubero = {
  cpu     = "75m"
  memory  = "768Mi"
  storage = "2Gi"
  operator = {
    cpu    = "60m"
    memory = "640Mi"
  }
  namespaces = {
    api-production = {}
    web-production = {}
  }
}

oidc = {
  issuer    = "https://sign-in.example.com:8443"
  client_id = "platform"
}

operators = {
  cpu    = "75m"
  memory = "384Mi"
  plugin = {
    cpu    = "20m"
    memory = "192Mi"
  }
}

vault = {
  replicas = 3
  cpu      = "150m"
  memory   = "512Mi"
  storage  = "7Gi"
  snapshots = {
    storage = "3Gi"
  }
}

quotas = {
  prod = {
    data       = { cpu = "16", memory = "64Gi", storage = "1Ti", pods = 100 }
    monitoring = { cpu = "16", memory = "64Gi", storage = "1Ti", pods = 100 }
  }
  staging = {
    data       = { cpu = "16", memory = "64Gi", storage = "1Ti", pods = 100 }
    monitoring = { cpu = "16", memory = "64Gi", storage = "1Ti", pods = 100 }
  }
  test = {
    data       = { cpu = "16", memory = "64Gi", storage = "1Ti", pods = 100 }
    monitoring = { cpu = "16", memory = "64Gi", storage = "1Ti", pods = 100 }
  }
}

tenants = {
  prod    = { applications = ["shop-prod"] }
  staging = { applications = ["shop-staging"] }
  test    = { applications = ["shop-test"] }
}

telemetry = {
  environment = "prod"
  cpu         = "60m"
  memory      = "320Mi"
  agent = {
    cpu    = "70m"
    memory = "384Mi"
  }
}
