"""How the state of pools lies in Redis: keys, scripts, and what they answer. Sans-IO.

The layout is the one of OpenSandbox's own SDKs, so that their programs and ours share a pool. Of
the pool ``NAME``, all keys begin with ``PREFIX:{NAME in base64url}:``

- ``idle:list``, ids of warm sandboxes, the one that waits longest first;
- ``idle:expires``, a hash from id to its end in milliseconds since the epoch;
- ``lock``, who fills the pool, with an expiry;
- ``maxIdle`` and ``idleTtlMillis``, numbers;
- ``destroy:state``, ``DESTROYING`` or ``DESTROYED``, and ``destroy:owner``.

Each script is one step that nobody else sees in the middle. Whoever may write to that Redis may
put anything there: what is no end of life makes a sandbox one to discard, what is no id is dropped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from opensandbox_jupyter.connection import checked_id
from opensandbox_jupyter.pools.types import IdleEntry, PoolDestroyState, TakeIdleResult

__all__ = [
    "ACQUIRE_LOCK",
    "BEGIN_DESTROY",
    "CLEAR",
    "DESTROY_STATE",
    "ENTRIES",
    "MARK_DESTROYED",
    "MAX_IDLE",
    "PUT",
    "REAP",
    "RELEASE_LOCK",
    "REMOVE",
    "RENEW_LOCK",
    "SET_IDLE_TTL",
    "SET_MAX_IDLE",
    "TAKE",
    "entries_of",
    "fate_of",
    "ids_of",
    "keys_of",
    "millis",
    "number_of",
    "taken_of",
]

_SUFFIXES = (
    "idle:list",
    "idle:expires",
    "lock",
    "maxIdle",
    "idleTtlMillis",
    "destroy:state",
    "destroy:owner",
)
_LONGEST_ID = 256
_DIGITS = 15

_START = """
local list, ends, lock, max_idle, idle_ttl, fate, fate_owner = unpack(KEYS)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(text)
  return text and #text <= 15 and string.match(text, '^%d+$') and tonumber(text)
end
local function left(sandbox_end)
  local at = whole(sandbox_end)
  return at and at - now
end
"""

TAKE = f"""{_START}
local discarded = {{}}
while true do
  local id = redis.call('LPOP', list)
  if not id then return {{'', discarded}} end
  local sandbox_end = redis.call('HGET', ends, id)
  if sandbox_end then
    redis.call('HDEL', ends, id)
    local rest = left(sandbox_end)
    if rest and rest > tonumber(ARGV[1]) and id ~= '' then return {{id, discarded}} end
    if not rest or rest > 0 then table.insert(discarded, id) end
  end
end
"""

REAP = f"""{_START}
local discarded = {{}}
local all = redis.call('HGETALL', ends)
for i = 1, #all, 2 do
  local rest = left(all[i + 1])
  if not rest or rest <= tonumber(ARGV[1]) then
    redis.call('HDEL', ends, all[i])
    redis.call('LREM', list, 0, all[i])
    if not rest or rest > 0 then table.insert(discarded, all[i]) end
  end
end
return discarded
"""

PUT = f"""{_START}
if redis.call('EXISTS', fate) == 1 then return redis.call('GET', fate) end
local known = redis.call('HGET', ends, ARGV[1])
local rest = known and left(known)
if rest and rest > 0 then return 1 end
if not known then redis.call('RPUSH', list, ARGV[1]) end
local ttl = whole(redis.call('GET', idle_ttl)) or tonumber(ARGV[2])
redis.call('HSET', ends, ARGV[1], string.format('%.0f', now + ttl))
return 1
"""

REMOVE = f"""{_START}
redis.call('LREM', list, 0, ARGV[1])
return redis.call('HDEL', ends, ARGV[1])
"""

ENTRIES = f"""{_START}
local found = {{}}
for _, id in ipairs(redis.call('LRANGE', list, 0, -1)) do
  local sandbox_end = redis.call('HGET', ends, id)
  local rest = sandbox_end and left(sandbox_end)
  if rest and rest > 0 then
    table.insert(found, id)
    table.insert(found, sandbox_end)
  end
end
return found
"""

ACQUIRE_LOCK = f"""{_START}
if redis.call('EXISTS', fate) == 1 then return 0 end
local holder = redis.call('GET', lock)
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', lock, ARGV[1], 'PX', ARGV[2])
return 1
"""

RENEW_LOCK = f"""{_START}
if redis.call('EXISTS', fate) == 1 or redis.call('GET', lock) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', lock, ARGV[2])
"""

RELEASE_LOCK = f"""{_START}
if redis.call('GET', lock) ~= ARGV[1] then return 0 end
return redis.call('DEL', lock)
"""

MAX_IDLE = f"""{_START}
return redis.call('GET', max_idle)
"""

SET_MAX_IDLE = f"""{_START}
if redis.call('EXISTS', fate) == 1 then return redis.call('GET', fate) end
redis.call('SET', max_idle, ARGV[1])
return 1
"""

SET_IDLE_TTL = f"""{_START}
if redis.call('EXISTS', fate) == 1 then return redis.call('GET', fate) end
redis.call('SET', idle_ttl, ARGV[1])
return 1
"""

DESTROY_STATE = f"""{_START}
return redis.call('GET', fate)
"""

BEGIN_DESTROY = f"""{_START}
if redis.call('GET', fate) == 'DESTROYED' then return 'DESTROYED' end
redis.call('SET', fate, 'DESTROYING')
redis.call('SET', fate_owner, ARGV[1])
return 1
"""

MARK_DESTROYED = f"""{_START}
redis.call('SET', fate, 'DESTROYED')
redis.call('SET', fate_owner, ARGV[1])
if ARGV[2] ~= '' then
  redis.call('PEXPIRE', fate, ARGV[2])
  redis.call('PEXPIRE', fate_owner, ARGV[2])
end
return 1
"""

CLEAR = f"""{_START}
return redis.call('DEL', list, ends, lock, max_idle, idle_ttl)
"""


def keys_of(prefix: str, pool_name: str) -> list[str]:
    """Return the keys of a pool, in the order in which the scripts know them."""
    name = base64.urlsafe_b64encode(checked_id(pool_name, "pool name").encode()).decode()
    return [f"{prefix}:{{{name.rstrip('=')}}}:{suffix}" for suffix in _SUFFIXES]


def millis(span: timedelta) -> int:
    """Return whole milliseconds."""
    return span // timedelta(milliseconds=1)


def taken_of(answer: Any) -> TakeIdleResult:
    """Read what ``TAKE`` answers: an id or nothing, and the ids to discard."""
    taken, discarded = answer
    return TakeIdleResult(next(iter(ids_of([taken])), None), ids_of(discarded))


def ids_of(answer: Iterable[Any]) -> tuple[str, ...]:
    """Return those of the values that may be ids of sandboxes."""
    texts = [_text(value) for value in answer]
    return tuple(
        text
        for text in texts
        if text and len(text) <= _LONGEST_ID and text.isprintable() and not text.isspace()
    )


def entries_of(answer: list[Any]) -> list[IdleEntry]:
    """Read what ``ENTRIES`` answers: ids and ends in turn."""
    return [
        IdleEntry(sandbox_id, datetime.fromtimestamp(int(end) / 1000, timezone.utc))
        for value, end in zip(answer[::2], answer[1::2], strict=True)
        for sandbox_id in ids_of([value])
    ]


def number_of(answer: Any) -> int | None:
    """Return a number that somebody wrote, ``None`` for what is not a sensible one."""
    text = _text(answer)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def fate_of(answer: Any) -> PoolDestroyState:
    """Read ``destroy:state``. A word that we do not know shuts the name as well."""
    if answer is None:
        return PoolDestroyState.ACTIVE
    is_destroyed = _text(answer) == PoolDestroyState.DESTROYED.value
    return PoolDestroyState.DESTROYED if is_destroyed else PoolDestroyState.DESTROYING


def _text(value: Any) -> str:
    """Return a text, empty for what is none."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value or "")
    except UnicodeDecodeError:
        return ""
