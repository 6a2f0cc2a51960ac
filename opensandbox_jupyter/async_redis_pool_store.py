"""The async store of pools on Redis."""

from opensandbox_jupyter.pools.redis import AsyncRedisPoolStateStore

__all__ = ["AsyncRedisPoolStateStore"]
