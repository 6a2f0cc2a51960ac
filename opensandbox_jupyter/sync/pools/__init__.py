"""Pools of warm sandboxes, blocking, generated from the async ones."""
