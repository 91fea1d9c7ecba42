# A namespace whose own domain would be read as a host name of staging's.
# expect: envs/infra.tfvars: kubero.namespaces.x-staging-signoz: give no name that begins as an environment's host names do: x-staging, x-test
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "kubero", "operators"]
kubero = { namespaces = { x-staging-signoz = {} } }
