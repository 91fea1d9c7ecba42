# A namespace for a pipeline whose Services Traefik could take for another's.
# expect: envs/infra.tfvars: kubero.namespaces: found "shop-production-eu" beside "shop-production"; give names of which none begins with another and a dash
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "kubero", "operators"]
kubero = { namespaces = { shop-production = {}, shop-production-eu = {} } }
