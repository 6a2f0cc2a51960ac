"""Where a redirect leads, and what may go along. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urljoin, urlsplit

from opensandbox_jupyter.wire.base import Call, Origin

__all__ = ["Trail", "common_to_all"]

MOST_HOPS = 20
"""How often one request may be sent elsewhere."""

_KEEP_METHOD = (307, 308)
_MAY_BECOME_GET = (301, 302, 303)
_COMMON = frozenset({"accept", "accept-encoding", "user-agent"})
_OURS = ("open-sandbox-", "opensandbox-")
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


class Trail:
    """The way of one request, from answer to answer."""

    __slots__ = ("_hops",)

    def __init__(self, *, follow: bool) -> None:
        self._hops = MOST_HOPS if follow else 0

    def onward(self, call: Call, status: int, headers: Mapping[str, str]) -> Call | None:
        """Return the next request, ``None`` when the answer is to be taken as it is.

        A POST becomes a GET after 301 and 302, anything but HEAD after 303, as in browsers. To
        another origin go neither the key, nor a sandbox's token, nor ``ConnectionConfig.headers``.
        """
        if not self._hops or status not in (*_KEEP_METHOD, *_MAY_BECOME_GET):
            return None
        onward = _onward(call, status, headers.get("location", ""))
        self._hops -= 1
        return onward


def common_to_all(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of a client's headers that may go to a foreign origin."""
    return {name: value for name, value in headers.items() if name.lower() in _COMMON}


def _onward(call: Call, status: int, location: str) -> Call | None:
    try:
        here = urlsplit(call.origin.base_url)
        there = urlsplit(urljoin(call.origin.base_url + call.path, location))
        same = (here.scheme, here.hostname, here.port) == (there.scheme, there.hostname, there.port)
    except ValueError:
        return None
    if not location or there.scheme not in ("http", "https") or not there.hostname:
        return None
    becomes_get = status == 303 or (status in _MAY_BECOME_GET and call.method == "POST")
    if becomes_get and call.method != "HEAD":
        call = replace(call, method="GET", json=None, parts=None)
    elif not call.replayable:
        return None
    origin = replace(call.origin, base_url=f"{here.scheme}://{here.netloc}")
    sent = call.headers
    if not same:
        place = f"{there.scheme}://{there.netloc.rpartition('@')[2]}"
        origin = Origin(place, {}, origin.is_sandbox, is_foreign=True)
        sent = {name: value for name, value in sent.items() if not _is_ours(name)}
    return replace(
        call,
        origin=origin,
        path=there.path or "/",
        query=parse_qsl(there.query, keep_blank_values=True),
        headers=sent,
    )


def _is_ours(name: str) -> bool:
    return name.lower().startswith(_OURS) or name.lower() in _SECRET
