"""Stores of pools on Redis: ``pip install 'opensandbox-jupyter[redis]'``."""

from opensandbox_jupyter.pools.redis import AsyncRedisPoolStateStore
from opensandbox_jupyter.sync.pools.redis import RedisPoolStateStore

__all__ = ["AsyncRedisPoolStateStore", "RedisPoolStateStore"]
