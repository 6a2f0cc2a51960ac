"""Prints, as JSON, what the calls of an SDK return: ``python -m vendor.values SDK COLOUR``.

For each call the returned object's public fields, as ``{path: "type value"}``. What differs from
run to run (ids, times, what is measured) is a word in angle brackets. SDK, COLOUR and how the
server is named are those of :mod:`scenarios`. Runs in either environment.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

SDKS = ("opensandbox", "opensandbox_jupyter", "code_interpreter")
PLAIN = (bool, int, float, str, bytes, timedelta, type(None))
HIDDEN = {
    "args",
    "cause",
    "headers_sent",
}  # of exceptions: what every exception has, or is not told
MEASURED = {
    "cpu_used_percentage", "memory_used_in_mib", "memory_total_in_mib", "cpu_count", "timestamp",
    "execution_time_in_millis", "idle_remaining_seconds", "content_length", "traceback",
}  # fmt: skip
WORDS = (
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?", "<time>"),
    (r"(?<![0-9a-f])[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\b", "<uuid>"),
    (r"\b[a-z]{0,8}[_-]?[0-9a-f]{12,}\b", "<id>"),
    (r"/18431/[0-9a-z]{6}/", "/18431/<moment>/"),
    (r"\b127\.0\.0\.1:\d+|\blocalhost:\d+", "<address>"),
)


def told(value: Any, at: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    """Give the paths in a value, and what lies there."""
    kind = type(value).__name__
    if isinstance(value, enum.Enum):
        yield at, f"{kind} {value.value!r}"
    elif name in MEASURED and value is not None:
        yield at, f"{kind} <measured>"
    elif isinstance(value, datetime):
        offset = value.utcoffset()
        yield at, f"{kind} {'without a zone' if offset is None else offset}"
    elif isinstance(value, PLAIN):
        yield at, f"{kind} {normal(repr(value))}"
    elif isinstance(value, dict):
        yield at, f"{kind} of {len(value)}"
        for key, one in value.items():
            yield from told(one, f"{at}[{normal(repr(key))}]", str(key))
    elif isinstance(value, list | tuple):
        yield at, f"{kind} of {len(value)}"
        for index, one in enumerate(value):
            yield from told(one, f"{at}[{index}]")
    else:
        yield at, kind
        if type(value).__module__.split(".")[0] in SDKS:
            yield from fields(value, at)


def fields(value: Any, at: str) -> Iterator[tuple[str, str]]:
    """Give what an object of an SDK has: its fields, its bases, its text and its dump."""
    is_error = isinstance(value, BaseException)
    if is_error:
        for base in type(value).__mro__[1:-1]:
            yield f"{at}:{base.__name__}", "a base"
    for name in dir(value):
        if name.startswith(("_", "model_")) or (is_error and name in HIDDEN):
            continue
        one = getattr(value, name)
        if not callable(one) and not name.isupper():
            yield from told(one, f"{at}.{name}", name)
    if any("__str__" in vars(base) and ours(base) for base in type(value).__mro__):
        yield f"{at}:{'says' if is_error else 'str'}", normal(repr(str(value)))
    if hasattr(value, "model_dump"):
        for name in value.model_dump():
            yield f"{at}:dump[{name}]", "a key"
        for name in value.model_dump(by_alias=True):
            yield f"{at}:alias[{name}]", "a key"


def ours(cls: type) -> bool:
    """Return whether a class is of an SDK."""
    return cls.__module__.split(".")[0] in SDKS


def normal(text: str) -> str:
    """Return a text without what is another one each time."""
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    return text


class Notes:
    """What was returned, by call."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {}

    def note(self, call: str, value: Any) -> Any:
        """Keep what a call returned, and return it."""
        from scenarios.colours import inner

        assert call not in self.found, call
        self.found[call] = dict(told(inner(value)))
        return value

    async def of(self, call: str, work: Awaitable[Any]) -> Any:
        """Keep what a call returns."""
        return self.note(call, await work)

    async def error(self, call: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Keep what a call raises."""
        try:
            value = work()
            if inspect.isawaitable(value) or hasattr(value, "__await__"):
                value = await value
        except Exception as error:
            if not ours(type(error)) and not isinstance(error, ValueError):
                raise
            self.note(call, error)
        else:
            raise AssertionError(f"{call} returned {value!r}")


async def run() -> dict[str, dict[str, str]]:
    """Make every call; return what each returned."""
    from scenarios import sdk
    from scenarios.__main__ import clean
    from vendor.calls import ROOMS

    notes = Notes()
    box = await sdk.create(env={"WHO": "me"}, metadata={"purpose": "look"})
    try:
        for room in ROOMS:
            await room(notes, box)
        return notes.found
    finally:
        await box.close()
        await clean()


def main() -> None:
    os.environ["SCENARIO_SDK"], os.environ["SCENARIO_COLOUR"] = sys.argv[1:]
    from scenarios.colours import drive

    work = run()
    print(json.dumps(drive(work) if sys.argv[2] == "blocking" else asyncio.run(work)))


if __name__ == "__main__":
    main()
