"""Pools of warm sandboxes. Programs import them from ``opensandbox_jupyter.pool``."""
