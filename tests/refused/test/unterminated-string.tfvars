# Quotes that are not closed.
# expect: envs/test.tfvars: line 5: not valid HCL; write settings as: name = "value"
environment = "test"
env_prefix = "x-test"
base_domain = "example.com
components = []
