# A client of the platform's database that is an environment's.
# expect: envs/infra.tfvars: database.databases.shop.clients.0: found "data-staging"; give a namespace of your own: environments never reach into each other
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "database", "operators"]
database = { databases = { shop = { clients = ["data-staging"] } } }
