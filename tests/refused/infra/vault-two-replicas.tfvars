# Two servers, of which none may fail.
# expect: envs/infra.tfvars: vault.replicas: found 2; give 1 or 3
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "operators", "vault"]
vault = { replicas = 2 }
