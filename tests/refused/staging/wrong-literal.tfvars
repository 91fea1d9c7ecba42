# A word that is not one of those allowed.
# expect: envs/staging.tfvars: redis.eviction: found "lru"; give "noeviction", "allkeys-lru" or "volatile-lru"
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
redis = { eviction = "lru" }
