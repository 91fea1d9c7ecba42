# The domain that all host names of the platform lie in, and what it lies in.
# expect: envs/infra.tfvars: kubero.namespaces.shop-production.domains: found "platform.example.com"; give a domain below base_domain, or another
# expect: envs/infra.tfvars: kubero.namespaces.shop-production.domains: found "example.com"; give a domain below base_domain, or another
environment = "infra"
env_prefix = ""
base_domain = "platform.example.com"
components = ["certificates", "kubero", "operators"]
kubero = { namespaces = { shop-production = { domains = ["platform.example.com", "example.com"] } } }
