"""The blocking SDK, generated from the async one."""
