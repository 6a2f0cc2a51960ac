"""Keeps keys out of what people see, and out of what is kept."""

from __future__ import annotations

import re
from typing import NoReturn

__all__ = ["Unpicklable", "without_credentials"]

_USERINFO = re.compile(r"(?<=//)[^/?#\s]*@|^[^/?#\s]*@")


def without_credentials(address: str) -> str:
    """Return a URL, or ``host[:port]``, without the user and password that it may carry."""
    return _USERINFO.sub("***@", address)


class Unpicklable:
    """What holds a secret, or a connection that needs one: it does not become bytes on a disk.

    ``TypeError`` is what ``pickle`` itself raises, so tools that try it first take another way.
    """

    __slots__ = ()

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} is not pickled, because it holds a key. "
            "Pass the id and connect again."
        )
