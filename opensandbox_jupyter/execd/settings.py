"""What the lifecycle server tells execd: one JSON document, read from an inherited descriptor."""

from __future__ import annotations

import msgspec

__all__ = ["Nesting", "Settings", "WayOutSettings", "read_settings"]


class WayOutSettings(msgspec.Struct, frozen=True):
    """``door`` is the proxy's unix socket; ``flag`` is a file with ``1`` in it while it is open."""

    door: int
    flag: int


class Nesting(msgspec.Struct, frozen=True):
    """What isolated sessions need.

    Attributes:
        bwrap: the path of bubblewrap, and its version.
        filter: the system call filter for all that runs here, as the kernel wants it.
        clean_proc: a ``/proc`` with nothing over it, for the broker's eyes only.
        cover_proc: bubblewrap's options that cover the special files of ``/proc``.
        environment: what a daemon like this one needs to start.
    """

    bwrap: str
    version: str
    filter: bytes
    clean_proc: str
    cover_proc: list[str]
    environment: dict[str, str]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The document.

    Attributes:
        sandbox_id: the sandbox's id, for messages.
        token: the secret that every request must carry.
        listen_fd: a listening unix stream socket, made by the server.
        cwd: the directory in which commands start and from which relative paths are resolved.
        env: the whole base environment of commands.
        env_file: a file of ``KEY=VALUE`` lines, read again before every command; may be missing.
        cpu_count: the processors that the sandbox may use.
        memory_bytes: the memory that it may use; ``None`` for the machine's.
        entrypoint: a process to start beside execd.
        waits: the sandbox is nobody's yet: the entrypoint and the rest come by ``/internal/init``.
        way_out: descriptors of the way out of the sandbox; ``None`` when there is none.
        nesting: what isolated sessions need; ``None`` when there are none.
        is_nested: this is the daemon of an isolated session, asked by the sandbox's own.
        state_dir: where logs of background commands go; ``None`` for a new private directory.
    """

    sandbox_id: str
    token: str
    listen_fd: int
    cwd: str
    env: dict[str, str]
    cpu_count: float
    env_file: str | None = None
    memory_bytes: int | None = None
    entrypoint: list[str] | None = None
    waits: bool = False
    way_out: WayOutSettings | None = None
    nesting: Nesting | None = None
    is_nested: bool = False
    state_dir: str | None = None

    def __repr__(self) -> str:
        return f"Settings(sandbox_id={self.sandbox_id!r})"


def read_settings(fd: int) -> Settings:
    """Read the document from ``fd`` to its end and close it.

    Raises:
        msgspec.ValidationError: when it is not such a document, or has no token.
    """
    with open(fd, "rb") as file:
        settings = msgspec.json.decode(file.read(), type=Settings)
    if not settings.token:
        raise msgspec.ValidationError("Expected a token that is not empty")
    return settings
