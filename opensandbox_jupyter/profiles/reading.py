"""Reads the profile file. A missing file is an empty one; a broken one is an error."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.profiles import keys
from opensandbox_jupyter.secrecy import without_credentials

__all__ = [
    "DEFAULT",
    "PROFILE_VARIABLE",
    "Chosen",
    "Profile",
    "choose",
    "current_name",
    "list_profiles",
    "profile_path",
]

DEFAULT = "default"
"""The name of the table ``[connection]``, which OpenSandbox's own command line reads, too."""

PROFILE_VARIABLE = "OPENSANDBOX_PROFILE"
"""Names the profile to use; it goes before the file's own choice."""

KEY, KEYRING_ENTRY = "api_key", "api_key_in_keyring"

Table = Mapping[str, Any]

_MOST_BYTES = 1 << 20
_OF_ONE_SERVER = frozenset({"protocol", "use_server_proxy"})


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile as the file says it, ``None`` for what it leaves open. Never its key.

    Attributes:
        name: ``default`` for the table ``[connection]``.
        domain: ``host[:port]``, without credentials; empty for the embedded server.
        protocol: ``http`` or ``https``.
        request_timeout: seconds.
        use_server_proxy: whether sandboxes are reached through the server.
        key_in: where its key is.
        is_current: whether it is the one in use.
    """

    name: str
    domain: str | None = None
    protocol: str | None = None
    request_timeout: float | None = None
    use_server_proxy: bool | None = None
    key_in: Literal["file", "keyring"] | None = None
    is_current: bool = False


class Chosen:
    """What the file says for one connection: the profile in use first, then ``[connection]``.

    What belongs to one server goes to no other: a table that names another domain than the one
    that is asked for is passed over for its key, protocol and proxy.
    """

    __slots__ = ("_tables", "name")

    def __init__(self, name: str, tables: list[Table]) -> None:
        self.name = name
        self._tables = tables

    def setting(self, name: str, domain: str | None = None) -> object:
        """Return a setting other than the key, for the server at ``domain``; ``None`` if unsaid."""
        tables = self._tables_of(domain) if name in _OF_ONE_SERVER else self._tables
        return next((table[name] for table in tables if table.get(name) is not None), None)

    def api_key(self, domain: str | None) -> str | None:
        """Return the key for the server at ``domain``, wherever it is kept.

        Raises:
            InvalidArgumentException: it is in a keyring that does not give it.
        """
        for table in self._tables_of(domain):
            if table.get(KEY):
                return str(table[KEY])
            if table.get(KEYRING_ENTRY):
                return keys.fetch(str(table[KEYRING_ENTRY]), self.name)
        return None

    def _tables_of(self, domain: str | None) -> list[Table]:
        here = _server(domain)
        return [t for t in self._tables if t.get("domain") is None or _server(t["domain"]) == here]


def profile_path() -> Path:
    """Return the place of the profile file."""
    return Path.home() / ".opensandbox" / "config.toml"


def choose(name: str | None = None) -> Chosen:
    """Return what the file says for the profile ``name``, or for the one in use.

    Raises:
        InvalidArgumentException: there is no such profile, or the file cannot be read.
    """
    data = read()
    wanted = name or current_name(data)
    connection = _table(data, "connection")
    if wanted == DEFAULT:
        return Chosen(DEFAULT, [connection])
    return Chosen(wanted, [named(data, wanted), connection])


def list_profiles() -> list[Profile]:
    """Return all profiles, ``default`` first, then by name.

    Raises:
        InvalidArgumentException: the file cannot be read.
    """
    data = read()
    current = current_name(data)
    tables = {DEFAULT: _table(data, "connection"), **dict(sorted(_named_tables(data).items()))}
    return [_profile(name, table, name == current) for name, table in tables.items()]


def current_name(data: Table | None = None) -> str:
    """Return the name of the profile in use: the environment's choice, else the file's."""
    chosen = os.environ.get(PROFILE_VARIABLE) or (read() if data is None else data).get("profile")
    return str(chosen or DEFAULT)


def named(data: Table, name: str) -> Table:
    """Return the table of a named profile.

    Raises:
        InvalidArgumentException: there is none; the hint lists those that exist.
    """
    known = _named_tables(data)
    if name not in known:
        raise InvalidArgumentException(
            f"There is no profile {name!r} in {profile_path()}.",
            hint=f"There are: {', '.join([DEFAULT, *sorted(known)])}. "
            "`opensandbox-jupyter profile add` makes another.",
        )
    return known[name]


def read() -> dict[str, Any]:
    """Return the whole file as data.

    Raises:
        InvalidArgumentException: it is not TOML, or no plain file.
    """
    path = profile_path()
    try:
        content = read_bytes(path, warn=True)
    except PermissionError:
        return {}
    except OSError as cause:
        raise broken(path, cause) from cause
    return {} if content is None else parse(path, content)


def read_bytes(path: Path, *, warn: bool = False) -> bytes | None:
    """Return the content of the file, ``None`` when there is none.

    Args:
        warn: whether a key that others may read is worth a warning.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a plain file")
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(f"it is longer than {_MOST_BYTES} bytes")
    if warn and status.st_mode & 0o077 and KEY.encode() in content:
        warnings.warn(
            f"Other users may open {path}, which holds a key. Run: chmod 600 {path}", stacklevel=2
        )
    return content


def parse(path: Path, content: bytes) -> dict[str, Any]:
    """Return the content of the file as data.

    Raises:
        InvalidArgumentException: it is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        data: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as cause:
        raise broken(path, cause) from cause
    return data


def broken(path: Path, cause: Exception) -> InvalidArgumentException:
    """Return the exception for a file that cannot be read."""
    reason = "it is not UTF-8" if isinstance(cause, UnicodeDecodeError) else str(cause)
    return InvalidArgumentException(
        f"The profile file {path} cannot be read: {reason}",
        hint="Mend the file or move it away.",
        cause=cause,
    )


def _named_tables(data: Table) -> dict[str, Table]:
    tables = _table(data, "profiles")
    return {k: v for k, v in tables.items() if isinstance(v, Mapping) and k != DEFAULT}


def _table(data: Table, name: str) -> Table:
    table = data.get(name)
    return table if isinstance(table, Mapping) else {}


def _server(domain: object) -> str:
    """Return what two ways to write the same server have in common."""
    return str(domain or "").strip().rstrip("/").split("://", 1)[-1].lower()


def _profile(name: str, table: Table, is_current: bool) -> Profile:
    domain, timeout = table.get("domain"), table.get("request_timeout")
    proxy = table.get("use_server_proxy")
    return Profile(
        name,
        None if domain is None else without_credentials(str(domain)),
        None if table.get("protocol") is None else str(table["protocol"]),
        float(timeout) if isinstance(timeout, int | float) else None,
        proxy if isinstance(proxy, bool) else None,
        "file" if table.get(KEY) else "keyring" if table.get(KEYRING_ENTRY) else None,
        is_current,
    )
