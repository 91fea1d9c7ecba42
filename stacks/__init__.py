"""What a stack is. Importing this package sets up how the cdktf bindings load, before anything imports them."""

from stacks import bindings

bindings.load_on_demand()
