# A folder with a space in its name.
# expect: envs/staging.tfvars: chart_mirror: found "/mnt/my charts"; give the absolute path of a folder such as /srv/charts, an address that begins with oci://, or ""
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
chart_mirror = "/mnt/my charts"
