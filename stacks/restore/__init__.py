"""Restore: each store's way back from its backup, as steps that are shown before they are taken."""
