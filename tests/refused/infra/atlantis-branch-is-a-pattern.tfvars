# A pattern for the branch, which other branches would match.
# expect: envs/infra.tfvars: atlantis.branch: found ".*"; give a branch such as main, without dots
environment = "infra"
env_prefix = ""
base_domain = "example.com"
components = ["atlantis", "operators"]
atlantis = { branch = ".*" }
