"""Keeps keys out of what people see, and out of what is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn, TypeVar
from urllib.parse import quote, unquote

__all__ = [
    "Unpicklable",
    "masked",
    "secrets_of",
    "secrets_within",
    "unlocked",
    "without_credentials",
]

T = TypeVar("T", str, bytes)

MASK = "***"

_USERINFO = re.compile(r"(?:(?<=//)|^)([^/?#\s]*)@")
_TELLING = re.compile(r"key|token|auth|secret|cookie|password|credential|signature", re.IGNORECASE)
_SECRET_FIELD = re.compile(r"key|token|secret|passw|^value$", re.IGNORECASE)
_SHORTEST = 4


class Unpicklable:
    """What holds a secret, or a connection that needs one: it does not become bytes on a disk.

    ``TypeError`` is what ``pickle`` itself raises, so tools that try it first take another way.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} is not pickled or copied deeply, because it holds a key. "
            "Pass the id on, and connect again."
        )


def without_credentials(address: str) -> str:
    """Return a URL, or ``host[:port]``, without the user and password that it may carry."""
    return _USERINFO.sub(f"{MASK}@", address)


def unlocked(address: str) -> str:
    """Return the same with nothing in their place, to be used and kept."""
    return _USERINFO.sub("", address)


def secrets_of(headers: Mapping[str, str], address: str = "") -> Iterator[str]:
    """Give the values of headers whose names tell that they are secret, and an address's own."""
    for name, value in headers.items():
        if _TELLING.search(name):
            yield value
            yield from value.split()[1:]  # behind a scheme, such as Bearer
    if found := _USERINFO.search(address):
        pair = found.group(1)
        yield from (pair, unquote(pair), pair.partition(":")[2], unquote(pair.partition(":")[2]))


def secrets_within(data: object) -> Iterator[str]:
    """Give the texts of a request whose names tell that they are secret."""
    if isinstance(data, dict):
        for name, value in data.items():
            if isinstance(value, str) and _SECRET_FIELD.search(name):
                yield value
            yield from secrets_within(value)
    elif isinstance(data, list):
        for value in data:
            yield from secrets_within(value)


def masked(text: T, secrets: Iterable[str]) -> T:
    """Return ``text`` without the secrets: as they are, in JSON (once or twice), in a URL."""
    import json

    forms = {
        form
        for secret in secrets
        if len(secret) >= _SHORTEST
        for once in (secret, json.dumps(secret)[1:-1])
        for form in (once, json.dumps(once)[1:-1], quote(secret, safe=""))
    }
    for form in sorted(forms, key=len, reverse=True):
        if isinstance(text, bytes):
            text = text.replace(form.encode(), MASK.encode())
        else:
            text = text.replace(form, MASK)
    return text
