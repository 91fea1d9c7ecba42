# PostHog on a Postgres with too few connections, which is its default size.
# expect: envs/staging.tfvars: postgres.memory: found "512Mi"; give 1024Mi or more: there is a connection for every 8Mi
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = ["posthog", "postgres"]
