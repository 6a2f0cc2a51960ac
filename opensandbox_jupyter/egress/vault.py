"""A sandbox's credentials, and for which requests each of them is meant.

Values are taken and never given back. They are kept in memory alone: after a restart of the server
a vault is empty. Specified by the OpenSandbox egress API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from opensandbox_jupyter.egress.names import Unreadable, canonical_name

__all__ = ["Auth", "Binding", "Conflict", "Match", "Missing", "Vault"]

_MOST = 256
_MOST_VALUE = 64 << 10
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PORTS = {"http": 80, "https": 443}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})


class Missing(LookupError):
    """There is no vault, or nothing of that name in it."""


class Conflict(ValueError):
    """The change goes against what is there."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A part of a request: every key must be known."""


class Source(_Strict, frozen=True):
    """Where a value comes from."""

    value: str
    type: Literal["inline"] = "inline"

    def __repr__(self) -> str:
        return "Source(…)"


class Credential(_Strict, frozen=True):
    """A secret and its name."""

    name: str
    source: Source


class Match(_Strict, frozen=True):
    """Which requests are meant."""

    hosts: list[str]
    schemes: list[Literal["https", "http"]] = msgspec.field(default_factory=lambda: ["https"])
    ports: list[int] | None = None
    """Without any, the usual port of each scheme."""
    methods: list[str] = msgspec.field(default_factory=lambda: list(_METHODS))
    paths: list[str] = msgspec.field(default_factory=lambda: ["/*"])

    def leads_to(self, scheme: str, host: str, port: int) -> bool:
        """Whether requests to ``host`` and ``port`` may be meant."""
        return (
            scheme in self.schemes
            and port in (self.ports or [_PORTS[scheme]])
            and any(_is_host(wanted, host) for wanted in self.hosts)
        )

    def fits(self, method: str, path: str) -> bool:
        """Whether a request is meant; ``path`` is without its query.

        A path that a server might read as another one is never meant.
        """
        read = unquote(path)
        segments = {part.partition(";")[0] for part in read.replace("\\", "/").split("/")}
        if {".", ".."} & segments or "//" in read:
            return False
        is_method = method in {one.upper() for one in self.methods}
        return is_method and any(_is_path(wanted, path) for wanted in self.paths)


class HeaderEntry(_Strict, frozen=True):
    """A header, and the credential that is its value."""

    name: str
    credential: str


class Substitution(_Strict, frozen=True, rename={"places": "in"}):
    """A text that stands for a credential, and where it may stand."""

    credential: str
    placeholder: str
    places: list[Literal["path", "query", "header", "body"]] = msgspec.field(
        default_factory=lambda: ["header"]
    )


class Auth(_Strict, frozen=True):
    """How credentials are put into a request."""

    type: Literal["bearer", "basic", "apiKey", "customHeaders", "passthrough"]
    credential: str | None = None
    name: str | None = None
    headers: list[HeaderEntry] | None = None
    substitutions: list[Substitution] | None = None

    def used(self) -> Iterator[str]:
        """Yield the names of all credentials that are used."""
        if self.credential is not None:
            yield self.credential
        yield from (entry.credential for entry in self.headers or ())
        yield from (one.credential for one in self.substitutions or ())

    def header_names(self) -> Iterator[str]:
        """Yield the names of all headers that are set."""
        if self.name is not None:
            yield self.name
        yield from (entry.name for entry in self.headers or ())


class Binding(_Strict, frozen=True):
    """Credentials for some requests."""

    name: str
    match: Match
    auth: Auth


class _Changes(_Strict, frozen=True):
    add: list[Credential] = []
    replace: list[Credential] = []
    delete: list[str] = []


class _BindingChanges(_Strict, frozen=True):
    add: list[Binding] = []
    replace: list[Binding] = []
    delete: list[str] = []


class _Create(_Strict, frozen=True):
    credentials: list[Credential]
    bindings: list[Binding]


class _Mutation(_Strict, frozen=True, rename="camel"):
    expected_revision: int | None = None
    credentials: _Changes = _Changes()
    bindings: _BindingChanges = _BindingChanges()


class Vault:
    """The credentials of one sandbox. Until :meth:`create` there are none."""

    def __init__(self) -> None:
        self._revision = 0
        self._is_there = False
        self._values: dict[str, tuple[str, int]] = {}
        self._bindings: dict[str, tuple[Binding, int]] = {}

    def __repr__(self) -> str:
        return f"<Vault of {len(self._values)} credentials>"

    def create(self, body: bytes) -> None:
        """Fill an empty vault. Raises: Conflict, or ValueError for what is no vault."""
        if self._is_there:
            raise Conflict("There is a credential vault already: change it with PATCH.")
        wanted = _decode(body, _Create)
        self._change(_Changes(add=wanted.credentials), _BindingChanges(add=wanted.bindings))

    def mutate(self, body: bytes) -> None:
        """Change it, all or nothing. Raises: Missing, Conflict, ValueError."""
        self._check_there()
        wanted = _decode(body, _Mutation)
        if wanted.expected_revision not in (None, self._revision):
            raise Conflict(f"The vault is at revision {self._revision} by now.")
        self._change(wanted.credentials, wanted.bindings)

    def delete(self) -> None:
        """Forget all of it. Raises: Missing."""
        self._check_there()
        self._is_there = False
        self._values, self._bindings = {}, {}

    def state(self) -> dict[str, Any]:
        """Return what may be told of it. Raises: Missing."""
        return {**self.credentials(), **self.bindings()}

    def credentials(self) -> dict[str, Any]:
        """Return what may be told of the credentials. Raises: Missing."""
        self._check_there()
        found = [self.credential(name) for name in self._values]
        return {"revision": self._revision, "credentials": found}

    def bindings(self) -> dict[str, Any]:
        """Return the bindings. Raises: Missing."""
        self._check_there()
        return {
            "revision": self._revision,
            "bindings": [self.binding(name) for name in self._bindings],
        }

    def credential(self, name: str) -> dict[str, Any]:
        """Return what may be told of a credential. Raises: Missing."""
        if name not in self._values:
            raise Missing(f"There is no credential {name[:64]!r}.")
        return {"name": name, "sourceType": "inline", "revision": self._values[name][1]}

    def binding(self, name: str) -> dict[str, Any]:
        """Return a binding. Raises: Missing."""
        if name not in self._bindings:
            raise Missing(f"There is no binding {name[:64]!r}.")
        binding, revision = self._bindings[name]
        auth: dict[str, str] = {"type": binding.auth.type}
        if binding.auth.name is not None:
            auth["name"] = binding.auth.name
        match = msgspec.to_builtins(binding.match)
        return {"name": name, "revision": revision, "match": match, "auth": auth}

    def value(self, name: str) -> str:
        """Return a secret, for the proxy alone."""
        return self._values[name][0]

    def leads_to(self, scheme: str, host: str, port: int) -> bool:
        """Whether some binding may be meant for requests to ``host`` and ``port``."""
        return any(one.match.leads_to(scheme, host, port) for one, _ in self._bindings.values())

    def find(self, scheme: str, host: str, port: int, method: str, path: str) -> Binding | None:
        """Return the first binding that a request is meant for."""
        for binding, _ in self._bindings.values():
            match = binding.match
            if match.leads_to(scheme, host, port) and match.fits(method, path):
                return binding
        return None

    def _check_there(self) -> None:
        if not self._is_there:
            raise Missing("There is no credential vault.")

    def _change(self, credentials: _Changes, bindings: _BindingChanges) -> None:
        revision = self._revision + 1
        values = _changed(
            self._values,
            {one.name: (one.source.value, revision) for one in credentials.add},
            {one.name: (one.source.value, revision) for one in credentials.replace},
            credentials.delete,
            _names(credentials.add),
        )
        found = _changed(
            self._bindings,
            {one.name: (one, revision) for one in bindings.add},
            {one.name: (one, revision) for one in bindings.replace},
            bindings.delete,
            _names(bindings.add),
        )
        for value, _ in values.values():
            _check_value(value)
        for binding, _ in found.values():
            _check(binding, values)
        self._values, self._bindings, self._revision = values, found, revision
        self._is_there = True


def _names(items: Iterable[Credential | Binding]) -> list[str]:
    found = [item.name for item in items]
    if len(set(found)) < len(found):
        raise ValueError("Two of them have the same name.")
    return found


def _changed(
    now: dict[str, Any],
    add: dict[str, Any],
    replace: dict[str, Any],
    delete: list[str],
    added: list[str],
) -> dict[str, Any]:
    for name in added:
        if name in now:
            raise Conflict(f"{name[:64]!r} is there already: replace it.")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:64]!r} is no name: use letters, digits and . _ -")
    for name in (*replace, *delete):
        if name not in now:
            raise Missing(f"There is no {name[:64]!r}.")
    found = {name: replace.get(name, kept) for name, kept in now.items() if name not in delete}
    found |= add
    if len(found) > _MOST:
        raise ValueError(f"A vault holds {_MOST} credentials and as many bindings.")
    return found


def _check_value(value: str) -> None:
    if not value or len(value) > _MOST_VALUE or not value.isprintable() or not value.isascii():
        raise ValueError("A credential's value is printable ASCII, and at most 64 KiB.")


def _check(binding: Binding, values: dict[str, Any]) -> None:
    """Refuse a binding that means nothing. Raises: ValueError."""
    where = f"The binding {binding.name[:64]!r}"
    for name in binding.auth.used():
        if name not in values:
            raise ValueError(f"{where} uses the credential {name[:64]!r}, which is not there.")
    for name in binding.auth.header_names():
        if not _TOKEN.fullmatch(name) or name.lower() in _RESERVED:
            raise ValueError(f"{where} sets {name[:64]!r}, which is no header for credentials.")
    auth = binding.auth
    needs = {"bearer": auth.credential, "basic": auth.credential, "customHeaders": auth.headers}
    if auth.type == "apiKey" and not (auth.name and auth.credential):
        raise ValueError(f"{where} needs a name and a credential.")
    if auth.type in needs and not needs[auth.type]:
        raise ValueError(f"{where} lacks what {auth.type} needs.")
    if any(len(one.placeholder) < 4 for one in auth.substitutions or ()):
        raise ValueError(f"{where} has a placeholder of less than four characters.")
    if not binding.match.hosts:
        raise ValueError(f"{where} names no host.")
    for host in binding.match.hosts:
        if host.startswith("*.") and "." not in host[2:].strip("."):
            raise ValueError(f"{where} names {host[:64]!r}, which is too many hosts.")
        try:
            canonical_name(host.removeprefix("*."))
        except Unreadable as error:
            raise ValueError(f"{where} names {host[:64]!r}, which is no host.") from error


def _is_host(wanted: str, host: str) -> bool:
    """Whether ``host`` is meant; ``*.`` stands for exactly one label."""
    name = canonical_name(wanted.removeprefix("*."))
    return name == (host.partition(".")[2] if wanted.startswith("*.") else host)


def _is_path(wanted: str, path: str) -> bool:
    """Whether ``path`` is meant; ``*`` stands for anything, and nothing else is special."""
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), path) is not None


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"The request is not understood: {error}.") from error
