"""Where sandboxes are made: their files, walls, limits and sockets. Knows records, no states."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from opensandbox_jupyter.runtime_file import private_directory
from opensandbox_jupyter.server import cgroups, probe, provision, rootfs, seccomp
from opensandbox_jupyter.server.cgroups import Cgroups, Group, Limits
from opensandbox_jupyter.server.copying import copy_tree
from opensandbox_jupyter.server.errors import start_failed, unavailable
from opensandbox_jupyter.server.identity import is_host_root
from opensandbox_jupyter.server.images import Image, find_image
from opensandbox_jupyter.server.inside import ask, message_of
from opensandbox_jupyter.server.jail import (
    CLEAN_PROC,
    SPECIAL_PROC,
    Bind,
    Jail,
    Share,
    cover_proc,
)
from opensandbox_jupyter.server.library import Library
from opensandbox_jupyter.server.probe import Tools
from opensandbox_jupyter.server.process import Confined
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.start import Plan, launch
from opensandbox_jupyter.server.trash import Trash
from opensandbox_jupyter.server.volumes import Held, Volumes
from opensandbox_jupyter.server.ways_out import WayOut
from opensandbox_jupyter.server.zygote import Zygote

__all__ = ["Started", "Workshop"]

_LOG = logging.getLogger(__name__)
_WAY_OUT = ".out"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUNDLE = "/opt/opensandbox/certificates.pem"
"""Whom the programs of a sandbox with credentials trust."""
_TRUST = (
    "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)  # fmt: skip
_HOOK_FAILED = 422
_CLAIMED = ("env", "cpu_count", "memory_bytes", "entrypoint")
_PATH = f"{rootfs.VENV}/bin:/root/.local/bin:{_SYSTEM_PATH}"


@dataclass(frozen=True)
class Started:
    """What a start gave."""

    confined: Confined
    group: Group | None
    socket_path: str
    processes: list[tuple[int, float]]


class Workshop:
    """Makes and removes what a sandbox consists of, below a data and a runtime directory."""

    def __init__(
        self, data: Path, run: Path, volumes: Volumes, library: Library, trash: Trash
    ) -> None:
        self._volumes = volumes
        self._library = library
        self._zygote = Zygote()
        self._homes = private_directory(data / "sandboxes")
        self._trash = trash
        sockets = private_directory(run / "sockets")
        self._sockets = os.open(sockets, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._cgroups: Cgroups | None = cgroups.detect(_short_name(data))

    def check(self) -> None:
        """Make sure that this host can isolate a sandbox. Raises: Refusal 503."""
        reason = _why_not()
        if reason is not None:
            _why_not.cache_clear()
            raise unavailable(reason)

    def build(self, record: Record, image: Image) -> None:
        """Make the files of a new sandbox on the host's own system. Blocks."""
        home = self._homes / record.id
        home.mkdir(mode=0o700)
        rootfs.build(home / "root", image, _hostname(record), record.outer_uid)

    def restore(self, record: Record, files: Path) -> None:
        """Make the files of a new sandbox from those of a snapshot or of an image. Blocks."""
        home = self._homes / record.id
        home.mkdir(mode=0o700)
        copy_tree(files, home / "root", uid=record.outer_uid if is_host_root() else None)
        if not record.system:
            rootfs.furnish(home / "root", _hostname(record), record.outer_uid)

    def layer(self, record: Record) -> Path:
        """Return where the files of a sandbox are."""
        return self._homes / record.id / "root"

    async def start(self, record: Record, way_out: WayOut, *, waits: bool = False) -> Started:
        """Start a sandbox on its files and return when its execd answers.

        One that ``waits`` has neither environment nor entrypoint before :meth:`claim`.
        """
        tools = probe.find_tools()
        if isinstance(tools, str):
            raise unavailable(tools)
        held = await asyncio.to_thread(self._volumes.hold, record.volumes)
        try:
            return await self._start(record, tools, held, way_out, waits)
        finally:
            held.close()

    async def _start(
        self, record: Record, tools: Tools, held: Held, way_out: WayOut, waits: bool
    ) -> Started:
        library = await asyncio.to_thread(self._library.path)
        jail = self._jail(record, tools, held, library)
        if way_out.keeper is not None:
            certificate = way_out.keeper.authority.certificate
            bundle = provision.certificates() + certificate
            rootfs.write_file(self.layer(record), BUNDLE, bundle, record.outer_uid)
        group = self._make_group(record)
        plan = Plan(
            jail=jail,
            tools=tools,
            uid=record.outer_uid,
            socket_path=self._socket_path(record),
            python=provision.own_python(is_foreign=not record.system),
            settings={
                **_settings(record),
                "waits": waits,
                "nesting": _nesting(jail, tools),
            },
            way_out=way_out,
            group=group,
            check=held.verify,
            zygote=self._zygote if record.system else None,
            memory=self._process_memory(record),
        )
        try:
            confined = await launch(plan)
        except BaseException:
            self.clear_away(record, group)
            raise
        return Started(confined, group, plan.socket_path, _birth_certificates(confined.pids))

    async def claim(self, record: Record, started: Started) -> None:
        """Make a sandbox that waits the one that ``record`` asks for.

        Raises:
            OSError: it could not be reached.
            Refusal: the hook before the entrypoint failed.
        """
        if started.group is not None:
            started.group.set_limits(Limits(cpu=record.cpu, memory=record.memory))
        settings = _settings(record)
        claim = {key: settings[key] for key in _CLAIMED}
        claim["process_memory"] = self._process_memory(record)
        claim["hooks"] = record.hooks
        status, said = await ask(
            started.socket_path, record.token, "POST /internal/init", msgspec.json.encode(claim)
        )
        if status == _HOOK_FAILED:
            raise start_failed(message_of(said))
        if status != 200:
            raise ConnectionRefusedError(f"The sandbox that waited answered {status}.")

    def _process_memory(self, record: Record) -> int | None:
        """Return the limit for each process, where no control group counts them together."""
        counts_memory = self._cgroups is not None and self._cgroups.can("memory")
        return None if counts_memory else record.memory

    def _jail(self, record: Record, tools: Tools, held: Held, library: Path) -> Jail:
        root = self.layer(record)
        jail = Jail(
            root=str(root),
            hostname=_hostname(record),
            supplies=provision.supplies() if record.system else provision.foreign_supplies(),
            library=Bind(str(library), provision.EXECD_LIBRARY),
            environment=provision.execd_environment(),
            existing_proc=frozenset(path for path in SPECIAL_PROC if Path(path).exists()),
            can_forbid_userns=tools.can_forbid_userns,
            can_size_tmpfs=tools.can_size_tmpfs,
            volumes=tuple(Share(*bind) for bind in held.binds()),
            nests=_may_nest(record, tools),
        )
        kinds = {bind.target: Path(bind.source).is_dir() for bind in jail.supplies}
        targets = [(target, kinds.get(target, True)) for target in jail.mount_points]
        rootfs.secure_mount_points(root, targets, record.outer_uid)
        return jail

    def describe(self, record: Record) -> str:
        """Return what a person should know of a running sandbox, one or two sentences."""
        where = "is served by" if record.system == record.image else "lies on"
        text = f"The image {record.image} {where} this host's own file system."
        if not record.system:
            text = f"The image {record.image} brings its own file system."
        weak = self.weak_limits()
        return f"{text} {weak}" if weak else text

    def weak_limits(self) -> str:
        """Return which limits do not bind a sandbox as a whole here, or an empty string."""
        able = self._cgroups
        missing = [name for name in ("cpu", "memory") if able is None or not able.can(name)]
        if not missing:
            return ""
        return f"No control group is available for {' and '.join(missing)}: " + (
            "memory is limited for each process only." if "memory" in missing else "cpu is free."
        )

    def clear_away(self, record: Record, group: Group | None) -> None:
        """Remove what a start made beside files. Blocks."""
        with contextlib.suppress(OSError):
            os.unlink(record.id, dir_fd=self._sockets)
        with contextlib.suppress(OSError):
            os.unlink(f"{record.id}{_WAY_OUT}", dir_fd=self._sockets)
        if group is not None:
            group.remove()

    def check_volumes(self, record: Record) -> None:
        """Refuse early what cannot be mounted. Raises: Refusal. Blocks."""
        self._volumes.check(record.volumes)

    def drop_volumes(self, record: Record, used: Collection[str]) -> None:
        """Remove the volumes that go with their sandbox, but for those ``used``. Blocks."""
        self._volumes.drop(record.volumes, used)

    def remove(self, record: Record) -> None:
        """Free the disk. Blocks for a moment."""
        self._trash.throw(self._homes / record.id)

    def sweep(self) -> None:
        """Remove what an earlier server left beside files. Blocks."""
        if self._cgroups is not None:
            self._cgroups.sweep()
        for name in os.listdir(self._sockets):
            os.unlink(name, dir_fd=self._sockets)

    def end_leftovers(self, records: Collection[Record]) -> None:
        """Kill processes that outlived the server that recorded them. Blocks."""
        for record in records:
            for pid, born in record.processes:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    if abs(process.create_time() - born) < 0.02:
                        process.kill()
                        process.wait(5)

    def close(self) -> None:
        """Give back what the server itself took."""
        os.close(self._sockets)
        self._zygote.close()
        self._library.close()
        if self._cgroups is not None:
            self._cgroups.close()

    def remove_strangers(self, known: Collection[str]) -> None:
        """Remove files of sandboxes that no record knows. Blocks."""
        for path in self._homes.iterdir():
            if path.name not in known:
                self._trash.throw(path)

    def _make_group(self, record: Record) -> Group | None:
        if self._cgroups is None:
            return None
        return self._cgroups.make(record.id, Limits(cpu=record.cpu, memory=record.memory))

    def way_out_path(self, record: Record) -> str:
        """Where a sandbox's way out begins: a socket beside the one that leads in."""
        return f"{self._socket_path(record)}{_WAY_OUT}"

    def _socket_path(self, record: Record) -> str:
        """A path through our own descriptor, because a socket's path must be short."""
        return f"/proc/self/fd/{self._sockets}/{record.id}"


_why_not = functools.cache(probe.why_not)


def _short_name(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def _hostname(record: Record) -> str:
    return record.id[:8]


def _settings(record: Record) -> dict[str, object]:
    environment = {
        "HOME": "/root",
        "PATH": _SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "TAR_OPTIONS": "--no-same-owner",
        "PYTHONUNBUFFERED": "1",
        **_python_environment(record),
        **(dict.fromkeys(_TRUST, BUNDLE) if record.keeps_credentials else {}),
        **record.image_env,
        **record.env,
        "OPENSANDBOX_ID": record.id,
        "EXECD_ENVS": rootfs.ENV_FILE,
    }
    return {
        "sandbox_id": record.id,
        "token": record.token,
        "cwd": record.cwd or "/workspace",
        "env": environment,
        "env_file": rootfs.ENV_FILE,
        "cpu_count": float(os.cpu_count() or 1) if record.cpu is None else record.cpu,
        "memory_bytes": record.memory,
        "entrypoint": record.entrypoint,
    }


def _python_environment(record: Record) -> dict[str, str]:
    """Return what leads to the private Python of a sandbox that lies on the host's system."""
    if not record.system:
        return {}
    library = provision.own_library() if find_image(record.system).is_own else {}
    return {"PATH": _PATH, "VIRTUAL_ENV": rootfs.VENV, **library}


def _may_nest(record: Record, tools: Tools) -> bool:
    is_able = tools.can_size_tmpfs and tools.bwrap.startswith("/usr/")
    return record.nests and bool(record.system) and is_able


def _nesting(jail: Jail, tools: Tools) -> dict[str, object] | None:
    """Return what execd needs to build walls of its own inside, if it shall."""
    if not jail.nests:
        return None
    return {
        "bwrap": tools.bwrap,
        "version": tools.version,
        "filter": seccomp.program(),
        "clean_proc": f"{jail.library.target}/{CLEAN_PROC}",
        "cover_proc": cover_proc(jail.existing_proc),
        "environment": jail.environment,
    }


def _birth_certificates(pids: Collection[int]) -> list[tuple[int, float]]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append((pid, psutil.Process(pid).create_time()))
    return found
