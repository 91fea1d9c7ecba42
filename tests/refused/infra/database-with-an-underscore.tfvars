# A database whose name is none of Kubernetes'.
# expect: envs/infra.tfvars: database.databases.my_shop: found "my_shop"; give a name of at most 40 lower-case letters, digits and dashes
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "database", "operators"]
database = { databases = { my_shop = {} } }
