"""Lengths of time, given in seconds or as a timedelta, wherever one is taken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from opensandbox_jupyter.exceptions import InvalidArgumentException

__all__ = ["Duration", "duration", "lasting"]

Duration = timedelta | float
"""Seconds, or a timedelta."""

_LONGEST = timedelta(days=36_525)


def duration(value: Any, what: str = "timeout", *, least: timedelta | None = None) -> timedelta:
    """Return a length of time that was given in seconds or as a timedelta.

    Args:
        value: what was given.
        what: its name, for the message of an error.
        least: the shortest that makes sense; 0 by itself.

    Raises:
        InvalidArgumentException: when it is neither, negative, below ``least``, or over a century.
    """
    found = value
    if isinstance(value, int | float) and not isinstance(value, bool):
        # NaN is not within any bounds, and what overflows a timedelta is beyond them
        found = timedelta(seconds=value) if 0 <= value <= _LONGEST.total_seconds() else None
    if not isinstance(found, timedelta) or not (least or timedelta(0)) <= found <= _LONGEST:
        bound = "" if least is None else f" of at least {least.total_seconds():g} s"
        raise InvalidArgumentException(
            f"{what} must be a length of time{bound}, not {value!r}.",
            hint="Give seconds, as in 30 or 0.5, or a timedelta; at most a hundred years.",
        )
    return found


def lasting(value: Any, what: str = "timeout") -> timedelta:
    """Return a length of time that is longer than none; see :func:`duration`."""
    return duration(value, what, least=timedelta(microseconds=1))
