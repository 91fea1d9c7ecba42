# Three things at once; all of them are reported.
# expect: envs/staging.tfvars: redis.memory: found "1GB"; give a size such as 512Mi, 10Gi or 1Ti
# expect: envs/staging.tfvars: postgres.instances: found 2; give 1, 3 or 5
# expect: envs/staging.tfvars: signoz.colector: unknown key; did you mean collector?
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { memory = "1GB" }
postgres = { instances = 2 }
signoz = { colector = {} }
