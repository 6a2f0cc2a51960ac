"""The vendor's store of pools, one step: ``pool_store_scenario.py SOCKET put|look``."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import redis
from opensandbox.exceptions import PoolDestroyedException
from opensandbox.pool_redis import RedisPoolStateStore

socket, step = sys.argv[1:]
store, name, hour = (
    RedisPoolStateStore(redis.Redis(unix_socket_path=socket)),
    "böxes / 1",
    timedelta(hours=1),
)
if step == "put":
    store.set_idle_entry_ttl(name, hour)
    store.set_max_idle(name, 5)
    for box in ("one", "two", "three"):
        store.put_idle(name, box)
    assert store.try_acquire_primary_lock(name, "vendor", hour)
    print("done")
elif step == "look":
    print(
        json.dumps(
            {
                "idle": [entry.sandbox_id for entry in store.snapshot_idle_entries(name)],
                "max_idle": store.get_max_idle(name),
                "lock": store.try_acquire_primary_lock(name, "vendor", hour),
                "taken": store.try_take_idle_min_ttl(name, timedelta(minutes=1)).sandbox_id,
            }
        )
    )
else:
    try:
        store.put_idle(name, "late")
    except PoolDestroyedException:
        print(store.get_destroy_state(name).value)
