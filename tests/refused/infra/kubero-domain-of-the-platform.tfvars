# Domains for a pipeline that are the platform's, or prod's.
# expect: envs/infra.tfvars: kubero.namespaces.shop-production.domains.0: found "vault.example.com"; give a domain of another name
# expect: envs/infra.tfvars: kubero.namespaces.shop-production.domains.1: found "signoz.example.com"; give a domain of another name
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "kubero", "operators"]
kubero = { namespaces = { shop-production = { domains = ["vault.example.com", "signoz.example.com"] } } }
