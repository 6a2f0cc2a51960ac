"""Two clocks: the wall's, which is written down, and one that nobody can set."""

from __future__ import annotations

import time
from datetime import datetime, timezone

__all__ = ["parse_stamp", "stamp", "steady", "wall"]


def wall() -> float:
    """Return seconds since 1970."""
    return time.time()


def steady() -> float:
    """Return seconds since the machine started, time asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def stamp(seconds: float) -> str:
    """Return ``seconds`` since 1970 as RFC 3339 in UTC."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_stamp(text: str) -> float:
    """Return the seconds since 1970 that RFC 3339 ``text`` means; without a zone it is UTC.

    Raises:
        ValueError: ``text`` is not a moment.
    """
    text = text.strip()
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in {"Z", "z"} else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
