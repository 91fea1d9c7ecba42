# A database that Postgres has already.
# expect: envs/infra.tfvars: database.databases.postgres: found "postgres"; give another name: all, none, postgres, public, replication, samerole, sameuser, template0, template1, false, no, null, off, on, true, yes, vault are taken
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["certificates", "database", "operators"]
database = { databases = { postgres = {} } }
