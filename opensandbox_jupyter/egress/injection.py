"""Puts credentials into a request that is meant to carry them. Nothing here touches a socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import AnyStr
from urllib.parse import quote

from opensandbox_jupyter.egress.judge import Refused
from opensandbox_jupyter.egress.vault import Binding, Vault

__all__ = ["MOST_BODY", "Injection"]

MOST_BODY = 1 << 20
"""The most bytes of a body in which a placeholder is looked for, before and after."""
_MOST_HEAD = 128 << 10
_LENGTH = b"content-length"
_Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Injection:
    """What is to be done to one request."""

    vault: Vault
    binding: Binding

    @property
    def changes_body(self) -> bool:
        """Whether the body must be read whole, to be changed."""
        return any("body" in one.places for one in self.binding.auth.substitutions or ())

    def path(self, target: str) -> str:
        """Return path and query with what stands for a credential replaced."""
        path, mark, query = target.partition("?")
        for one in self.binding.auth.substitutions or ():
            value = quote(self.vault.value(one.credential), safe="")
            if "path" in one.places:
                path = _replaced(path, one.placeholder, value, _MOST_HEAD)
            if "query" in one.places:
                query = _replaced(query, one.placeholder, value, _MOST_HEAD)
        return path + mark + query

    def headers(self, headers: _Headers) -> _Headers:
        """Return the headers with credentials; those of the sandbox by the same names go."""
        ours = self._own()
        named = {name.lower() for name, _ in ours}
        kept = [(name, value) for name, value in headers if name.lower() not in named]
        for one in self.binding.auth.substitutions or ():
            if "header" in one.places:
                old, new = one.placeholder.encode(), self.vault.value(one.credential).encode()
                kept = [
                    (name, value if name == _LENGTH else _replaced(value, old, new, _MOST_HEAD))
                    for name, value in kept
                ]
        found = [*kept, *ours]
        if sum(len(name) + len(value) for name, value in found) > _MOST_HEAD:
            raise Refused(431, "The request's headers are too long with the credentials in them.")
        return found

    def body(self, body: bytes) -> bytes:
        """Return the body with what stands for a credential replaced."""
        for one in self.binding.auth.substitutions or ():
            if "body" in one.places:
                value = self.vault.value(one.credential).encode()
                body = _replaced(body, one.placeholder.encode(), value, MOST_BODY)
        return body

    def _own(self) -> _Headers:
        auth = self.binding.auth
        value = "" if auth.credential is None else self.vault.value(auth.credential)
        found: list[tuple[str, str]] = []
        if auth.type == "bearer":
            found = [("authorization", f"Bearer {value}")]
        elif auth.type == "basic":
            found = [("authorization", f"Basic {value}")]
        elif auth.type == "apiKey":
            found = [(auth.name or "", value)]
        elif auth.type == "customHeaders":
            found = [(one.name, self.vault.value(one.credential)) for one in auth.headers or ()]
        return [(name.lower().encode(), value.encode()) for name, value in found]


def _replaced(text: AnyStr, old: AnyStr, new: AnyStr, most: int) -> AnyStr:
    """Replace, unless that makes more than ``most`` of it: placeholders are short, secrets long."""
    if len(text) + text.count(old) * (len(new) - len(old)) > most:
        raise Refused(413, "The request is too long with the credentials in it.")
    return text.replace(old, new)
