# A database whose Secret would be one of CloudNativePG's own.
# expect: envs/staging.tfvars: postgres.databases.ca: found "ca"; give another name: all, none, postgres, public, replication, samerole, sameuser, template0, template1, false, no, null, off, on, true, yes, app, recovery, ca, pooler, server, superuser are taken
environment = "staging"
env_prefix = "x-staging"
base_domain = "example.com"
components = []
postgres = { databases = { ca = {} } }
