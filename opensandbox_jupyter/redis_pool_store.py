"""The blocking store of pools on Redis."""

from opensandbox_jupyter.sync.pools.redis import RedisPoolStateStore

__all__ = ["RedisPoolStateStore"]
