# An address of a store with a bucket in it.
# expect: envs/infra.tfvars: backups.endpoint: found "https://s3.example.com/backups"; give an address such as https://s3.example.com, or ""
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = []
backups = { bucket = "backups", endpoint = "https://s3.example.com/backups" }
