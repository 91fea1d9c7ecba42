"""The rehearsal: all stacks applied to a cluster made for it, the promises tried on it, and everything thrown away."""
