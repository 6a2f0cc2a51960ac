"""A program that fills a pool on Redis until it is killed: ``pool_owner.py SOCKET POOL COUNT``."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta

import redis

from opensandbox_jupyter import ConnectionConfigSync, PoolCreationSpec, SandboxPool
from opensandbox_jupyter.pool_redis import RedisPoolStateStore

socket, name, count = sys.argv[1:]
pool = SandboxPool(
    pool_name=name,
    max_idle=int(count),
    state_store=RedisPoolStateStore(redis.Redis(unix_socket_path=socket)),
    connection_config=ConnectionConfigSync(),
    creation_spec=PoolCreationSpec("base", metadata={"pool": name}),
    owner_id="the first",
    primary_lock_ttl=timedelta(seconds=2),
    idle_timeout=timedelta(minutes=5),
)
pool.start()
print("started", flush=True)
threading.Event().wait()
