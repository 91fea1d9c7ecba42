# A client in another environment's namespace, for each system.
# expect: envs/staging.tfvars: redis.clients.1: found "monitoring-test"; give a namespace of your own: environments never reach into each other
# expect: envs/staging.tfvars: postgres.clients.0: found "data-prod"; give a namespace of your own: environments never reach into each other
# expect: envs/staging.tfvars: signoz.clients.0: found "monitoring-prod"; give a namespace of your own: environments never reach into each other
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres = { clients = ["data-prod"] }
redis = { clients = ["apps", "monitoring-test"] }
signoz = { clients = ["monitoring-prod"] }
