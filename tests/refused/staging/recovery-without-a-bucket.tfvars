# A restore without a bucket.
# expect: envs/staging.tfvars: postgres_recovery.source: found 1; a database is restored from a bucket; give backups.bucket, or the source 0
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres_recovery = { generation = 2, source = 1 }
