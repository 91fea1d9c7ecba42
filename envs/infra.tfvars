# L1 and L2, shared by all environments. Applied only by `atlantis apply -p infra`, with enable_infra=true.
# Every key and its default: docs/reference/settings.md

environment = "infra"
env_prefix  = ""
base_domain = "example.com"
components  = ["atlantis", "certificates", "dashboard", "database", "dns", "kubero", "operators", "telemetry", "vault"]

atlantis = {
  repository = "github.com/example/platform"
}

# Give an address, and certificates come from Let's Encrypt instead of being self-signed.
certificates = {
  email = ""
}

# Where Kubero's pipelines may deploy, <pipeline>-<phase>: { shop-production = { domains = ["shop.example.org"] } }
kubero = {
  namespaces = {}
}

quotas = {
  prod = {
    data       = { memory = "8Gi", storage = "100Gi" }
    monitoring = { memory = "30Gi", storage = "200Gi" }
  }
  staging = {
    data       = { memory = "3Gi", storage = "20Gi" }
    monitoring = { memory = "24Gi", storage = "50Gi" }
  }
  test = {
    data       = { memory = "2Gi", storage = "20Gi" }
    monitoring = { memory = "5Gi", storage = "40Gi" }
  }
}

# Logs and metrics of the cluster go to the SigNoz of this environment, and whoever may sign in there reads them.
telemetry = {
  environment = "prod"
}

tenants = {
  prod    = { priority = 3000 }
  staging = { priority = 2000 }
  test    = { priority = 1000, protected = false }
}
