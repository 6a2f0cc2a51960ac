"""What the server knows of its sandboxes, kept in SQLite so that it outlives the server."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from opensandbox_jupyter.constants import NESTING_EXTENSION, RENEWAL_EXTENSION
from opensandbox_jupyter.hosting.hooks import Hooks

__all__ = ["Record", "Records", "Shelf", "Snapshot", "Template", "Volume"]

_LOG = logging.getLogger(__name__)
_SCHEMA = 3
_MOST_EVENTS = 100
_MOST_TEXT = 1000
_LEAST_RENEWAL = 60.0


class Volume(msgspec.Struct, omit_defaults=True):
    """A directory that is mounted in a sandbox: a named volume or a path of the host."""

    name: str
    mount_path: str
    read_only: bool = False
    parts: list[str] = []
    """The directory below it that is mounted."""
    claim: str = ""
    """The name of the volume; empty for a path of the host."""
    may_create: bool = False
    is_temporary: bool = False
    """Whether the volume goes with its sandbox."""
    host: str = ""


class Record(msgspec.Struct, omit_defaults=True):
    """One sandbox. Moments are seconds since 1970; sizes are bytes."""

    id: str
    image: str
    entrypoint: list[str]
    created: float
    token: str
    outer_uid: int
    state: str = "Pending"
    reason: str = ""
    message: str = ""
    transition: float = 0.0
    expires: float | None = None
    env: dict[str, str] = {}
    metadata: dict[str, str] = {}
    extensions: dict[str, str] = {}
    platform: dict[str, str] | None = None
    snapshot_id: str | None = None
    template_id: str | None = None
    base: str | None = None
    """The host's image on whose system it lies: empty for none, ``None`` for ``image`` itself."""
    image_env: dict[str, str] = {}
    """Variables that the image brings; those of ``env`` come after them."""
    cwd: str = ""
    """Where the image wants its programs to run; empty for the usual place."""
    volumes: list[Volume] = []
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    events: list[tuple[float, str, str]] = []
    """The last changes of state: when, the reason, and what was said of it."""
    last_words: str = ""
    """The end of what execd wrote, kept when the processes ended by themselves."""
    hooks: Hooks | None = None
    keeps_credentials: bool = False
    """Whether its proxy may put credentials into requests."""
    network_policy: Any = None
    """What the sandbox may reach, as JSON. Whatever cannot be read denies all."""
    egress_token: str = ""
    processes: list[tuple[int, float]] = []
    """Pid and start time of the processes that hold the sandbox, to find what a crash left."""

    def note(self, at: float, reason: str, text: str) -> None:
        """Add an event; only the last ones are kept."""
        self.events = [*self.events, (at, reason, text[:_MOST_TEXT])][-_MOST_EVENTS:]

    @property
    def system(self) -> str:
        """The host's image on whose system it lies; empty when it brings its own."""
        return self.image if self.base is None else self.base

    @property
    def nests(self) -> bool:
        """Whether isolated sessions may be opened inside."""
        return self.extensions.get(NESTING_EXTENSION) == "enable"

    def prolonged(self, now: float) -> float | None:
        """When it shall expire, if being used at ``now`` puts that off by a minute at least."""
        seconds = self.extensions.get(RENEWAL_EXTENSION)
        if seconds is None or self.expires is None or self.state != "Running":
            return None
        later = now + int(seconds)
        return later if later >= self.expires + _LEAST_RENEWAL else None

    @property
    def alive(self) -> bool:
        """Whether there are, or should be, processes."""
        return self.state in {"Pending", "Running", "Paused"}


class Snapshot(msgspec.Struct, omit_defaults=True):
    """One snapshot. Moments are seconds since 1970; ``size`` is bytes."""

    id: str
    sandbox_id: str
    image: str
    created: float
    name: str | None = None
    state: str = "Creating"
    reason: str = ""
    message: str = ""
    transition: float = 0.0
    size: int = 0
    base: str | None = None
    image_env: dict[str, str] = {}
    cwd: str = ""
    """These three are as the sandbox had them; see :class:`Record`."""
    template_id: str = ""
    """The template whose it is; such a one is in no list."""


class Template(msgspec.Struct, omit_defaults=True):
    """One template: what was asked for, and how far it is. Moments are seconds since 1970."""

    id: str
    image: str
    publish: str
    created: float
    updated: float
    format: str = "overlaybd"
    phase: str = "Pending"
    message: str = ""
    sandbox_id: str = ""
    """The sandbox that becomes the template, while it is built."""
    snapshot_id: str = ""
    """The snapshot that sandboxes begin from."""
    limits: dict[str, str] | None = None
    entrypoint: list[str] | None = None
    env: dict[str, str] | None = None
    metadata: dict[str, str] | None = None
    probe: str | None = None
    warmup: int | None = None


class _Kept(Protocol):
    @property
    def id(self) -> str: ...


_K = TypeVar("_K", bound=_Kept)


class Shelf(Generic[_K]):
    """A table of records of one kind, each under its id."""

    def __init__(self, base: sqlite3.Connection, table: str, kind: type[_K]) -> None:
        self._base = base
        self._table = table
        self._kind = kind

    def all(self) -> list[_K]:
        """Return every record."""
        rows = self._base.execute(f"SELECT record FROM {self._table}")  # noqa: S608
        return [msgspec.json.decode(row, type=self._kind) for (row,) in rows]

    def save(self, record: _K) -> None:
        """Write ``record``, new or changed."""
        self._base.execute(
            f"INSERT INTO {self._table} (id, record) VALUES (?, ?)"  # noqa: S608
            " ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            (record.id, msgspec.json.encode(record)),
        )

    def remove(self, record_id: str) -> None:
        """Forget a record; one that is not there is no error."""
        self._base.execute(f"DELETE FROM {self._table} WHERE id = ?", (record_id,))  # noqa: S608


class Records:
    """The table of sandboxes. One writer: the server's own thread."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._base = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        self._base.execute("PRAGMA busy_timeout = 5000")
        self._upgrade()
        self.snapshots = Shelf(self._base, "snapshots", Snapshot)
        self.templates = Shelf(self._base, "templates", Template)

    def _upgrade(self) -> None:
        (found,) = self._base.execute("PRAGMA user_version").fetchone()
        if found > _SCHEMA:
            raise RuntimeError(f"The records were written by a newer version (schema {found}).")
        if found < _SCHEMA:
            self._base.executescript(
                "BEGIN IMMEDIATE;"
                "CREATE TABLE IF NOT EXISTS sandboxes"
                " (id TEXT PRIMARY KEY, created REAL NOT NULL, record BLOB NOT NULL);"
                "CREATE TABLE IF NOT EXISTS snapshots"
                " (id TEXT PRIMARY KEY, record BLOB NOT NULL);"
                "CREATE TABLE IF NOT EXISTS templates"
                " (id TEXT PRIMARY KEY, record BLOB NOT NULL);"
                f"PRAGMA user_version = {_SCHEMA};"
                "COMMIT;"
            )

    def all(self) -> list[Record]:
        """Return every record, newest first."""
        rows = self._base.execute("SELECT record FROM sandboxes ORDER BY created DESC, id")
        return [msgspec.json.decode(row, type=Record) for (row,) in rows]

    def save(self, record: Record) -> None:
        """Write ``record``, new or changed."""
        self._base.execute(
            "INSERT INTO sandboxes (id, created, record) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            (record.id, record.created, msgspec.json.encode(record)),
        )

    def say(self, record: Record, now: float, state: str, reason: str, message: str) -> None:
        """Write down what has become of a sandbox."""
        record.state, record.reason, record.message = state, reason, message
        record.transition = now
        record.note(now, reason, message)
        try:
            self.save(record)
        except sqlite3.Error as error:  # a full disk; what is said is true all the same
            _LOG.warning("the record of %s could not be written: %s", record.id, error)

    def remove(self, sandbox_id: str) -> None:
        """Forget a sandbox; one that is not there is no error."""
        self._base.execute("DELETE FROM sandboxes WHERE id = ?", (sandbox_id,))

    def close(self) -> None:
        """Close the file."""
        self._base.close()
