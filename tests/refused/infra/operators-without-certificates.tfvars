# The backup plugin's certificates would be nobody's.
# expect: envs/infra.tfvars: components: operators needs certificates; add it to components of envs/infra.tfvars
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["operators"]
