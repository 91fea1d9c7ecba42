# A restore without a bucket.
# expect: envs/staging.tfvars: postgres_recovery: found {"generation": 2, "source": 1}; give backups.bucket: a database is restored from a bucket
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres_recovery = { generation = 2, source = 1 }
