# The operator that Postgres needs is not in infra.
# expect: envs/prod.tfvars: components: postgres needs operators; add it to components of envs/infra.tfvars
# expect: envs/staging.tfvars: components: postgres needs operators; add it to components of envs/infra.tfvars
# expect: envs/test.tfvars: components: postgres needs operators; add it to components of envs/infra.tfvars
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = []
