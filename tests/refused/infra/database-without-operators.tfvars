# The operator that the database needs is left out, and so is what the environments' need.
# expect: envs/infra.tfvars: components: database needs operators; add it to components of envs/infra.tfvars
# expect: envs/prod.tfvars: components: postgres needs operators; add it to components of envs/infra.tfvars
# expect: envs/staging.tfvars: components: postgres needs operators; add it to components of envs/infra.tfvars
# expect: envs/test.tfvars: components: postgres needs operators; add it to components of envs/infra.tfvars
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "database"]
