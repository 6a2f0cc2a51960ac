"""Puts credentials into a request that is meant to carry them. Nothing here touches a socket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from opensandbox_jupyter.egress.vault import Binding, Vault

__all__ = ["MOST_BODY", "Injection"]

MOST_BODY = 1 << 20
"""The most bytes of a body in which a placeholder is looked for."""
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
                path = path.replace(one.placeholder, value)
            if "query" in one.places:
                query = query.replace(one.placeholder, value)
        return path + mark + query

    def headers(self, headers: _Headers) -> _Headers:
        """Return the headers with credentials; those of the sandbox by the same names go."""
        ours = self._own()
        named = {name.lower() for name, _ in ours}
        kept = [(name, value) for name, value in headers if name.lower() not in named]
        for one in self.binding.auth.substitutions or ():
            if "header" in one.places:
                old, new = one.placeholder.encode(), self.vault.value(one.credential).encode()
                kept = [(name, value.replace(old, new)) for name, value in kept]
        return [*kept, *ours]

    def body(self, body: bytes) -> bytes:
        """Return the body with what stands for a credential replaced."""
        for one in self.binding.auth.substitutions or ():
            if "body" in one.places:
                value = self.vault.value(one.credential).encode()
                body = body.replace(one.placeholder.encode(), value)
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
