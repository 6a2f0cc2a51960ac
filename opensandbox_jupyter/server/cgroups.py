"""Limits that count all processes of a sandbox together: control groups, version 1 or 2.

Where no group can be made, the caller falls back on limits that bind single processes, and says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cgroups", "Group", "Limits", "detect"]

_NAME = "opensandbox-jupyter"
_WANTED = ("memory", "pids", "cpu")
"""Without the freezer of version 1: what it holds cannot be killed, and so would outlive us."""
_PERIOD = 100_000


@dataclass(frozen=True)
class Limits:
    """What a sandbox may use: cores, bytes, processes. ``None`` is no limit."""

    cpu: float | None = None
    memory: int | None = None
    pids: int = 4096


@dataclass(frozen=True)
class Cgroups:
    """Where groups can be made: one directory per controller (version 2: the same one for all)."""

    version: int
    bases: dict[str, Path]

    def can(self, controller: str) -> bool:
        """Whether ``memory``, ``pids``, ``cpu`` or ``freezer`` (version 2 only) works here."""
        return controller in self.bases

    def make(self, name: str, limits: Limits) -> Group:
        """Make the group ``name`` with ``limits``; what the host cannot do is left out."""
        directories = {key: base / name for key, base in self.bases.items()}
        group = Group(self.version, directories)
        for directory in set(directories.values()):
            directory.mkdir(parents=True, exist_ok=True)
        group.set_limits(limits)
        return group

    def close(self) -> None:
        """Remove the places themselves, unless groups are left in them."""
        for base in set(self.bases.values()):
            with contextlib.suppress(OSError):
                base.rmdir()

    def sweep(self) -> None:
        """Kill and remove the groups that an earlier server left."""
        for key, base in self.bases.items():
            for path in base.iterdir():
                if path.is_dir():
                    Group(self.version, {key: path}).remove()


@dataclass(frozen=True)
class Group:
    """The control group of one sandbox."""

    version: int
    directories: dict[str, Path]

    def set_limits(self, limits: Limits) -> None:
        """Write the limits down, each where its controller is there."""
        if self.version == 2:
            cpu = "max" if limits.cpu is None else f"{int(limits.cpu * _PERIOD)} {_PERIOD}"
            memory = "max" if limits.memory is None else str(limits.memory)
            self._write("cpu", "cpu.max", cpu)
            self._write("memory", "memory.max", memory)
            self._write("memory", "memory.swap.max", "0")
            self._write("memory", "memory.oom.group", "0")
        else:
            quota = -1 if limits.cpu is None else int(limits.cpu * _PERIOD)
            self._write("cpu", "cpu.cfs_quota_us", str(quota))
            memory = "-1" if limits.memory is None else str(limits.memory)
            self._write("memory", "memory.limit_in_bytes", memory)
            self._write("memory", "memory.memsw.limit_in_bytes", memory)
        self._write("pids", "pids.max", str(limits.pids))

    def add(self, pid: int) -> None:
        """Put a process in; its later children follow."""
        for directory in set(self.directories.values()):
            (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")

    @property
    def can_freeze(self) -> bool:
        """Whether :meth:`freeze` works."""
        return "freezer" in self.directories

    def freeze(self, timeout: float = 5.0) -> bool:
        """Stop every process where it is. Return whether all of them stand still. Blocks."""
        self._write("freezer", "cgroup.freeze", "1")
        deadline = time.monotonic() + timeout
        while not self._is_frozen():
            if time.monotonic() > deadline:
                self.thaw()
                return False
            time.sleep(0.002)
        return True

    def thaw(self) -> None:
        """Let every process go on."""
        self._write("freezer", "cgroup.freeze", "0")

    def out_of_memory_kills(self) -> int:
        """Return how many processes the kernel killed because the sandbox was full."""
        directory = self.directories.get("memory")
        if directory is None:
            return 0
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            for line in (directory / name).read_text(encoding="ascii").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
        return 0

    def remove(self, timeout: float = 5.0) -> None:
        """Kill what is left inside and remove the group. Blocks."""
        deadline = time.monotonic() + timeout
        for directory in set(self.directories.values()):
            while not self._try_remove(directory) and time.monotonic() < deadline:
                self._kill(directory)
                time.sleep(0.005)

    def _kill(self, directory: Path) -> None:
        if self.version == 2:
            self._write("freezer", "cgroup.kill", "1")  # a kernel before 5.14 has no such file
        with contextlib.suppress(OSError):
            for pid in (directory / "cgroup.procs").read_text(encoding="ascii").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
        with contextlib.suppress(OSError):
            self.thaw()

    def _try_remove(self, directory: Path) -> bool:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            return error.errno != errno.EBUSY
        return True

    def _is_frozen(self) -> bool:
        directory = self.directories["freezer"]
        return "frozen 1" in (directory / "cgroup.events").read_text(encoding="ascii")

    def _write(self, controller: str, name: str, value: str) -> None:
        directory = self.directories.get(controller)
        if directory is not None:
            with contextlib.suppress(FileNotFoundError):
                (directory / name).write_text(value, encoding="ascii")


def detect(owner: str) -> Cgroups | None:
    """Return where this process may make groups, or ``None`` when it may not.

    Args:
        owner: a name of this server's own, so that none touches the groups of another.
    """
    name = f"{_NAME}-{owner}"
    first: dict[str, Path] = {}
    top, unified = Path(), None
    own = _own_groups()
    for kind, options, mounted, root in _mounts():
        if kind == "cgroup":
            for controller in set(options) & set(_WANTED):
                first[controller] = _below(mounted, root, own.get(controller, "/"))
        elif kind == "cgroup2":
            top, unified = mounted, _below(mounted, root, own.get("", "/"))
    first = {key: path / name for key, path in first.items() if _can_make(path / name)}
    if first:
        return Cgroups(1, first)
    return _detect_unified(unified, top, name) if unified is not None else None


def _detect_unified(own: Path, top: Path, name: str) -> Cgroups | None:
    """Find a place below our own group, or one that it lies in, up to ``top``.

    A group that holds processes passes no controller on, and our own holds us: so it is mostly
    the slice of systemd around it. Root takes the topmost one then.
    """
    around = [path for path in own.parents if path == top or top in path.parents]
    for candidate in (own, *(reversed(around) if os.geteuid() == 0 else around)):
        base = candidate / name
        if not _can_make(base):
            continue
        offered = _enable(candidate, base)
        bases = {key: base for key in _WANTED if key in offered}
        if {"memory", "pids"} & set(bases) and _can_hold(base):
            if (base / "cgroup.freeze").exists():
                bases["freezer"] = base
            return Cgroups(2, bases)
        with contextlib.suppress(OSError):
            base.rmdir()
    return None


def _can_hold(base: Path) -> bool:
    """Whether a process of ours may be moved there: not from a session that began elsewhere."""
    group = Group(2, {"pids": base / "trial"})
    with subprocess.Popen(["/bin/sh", "-c", "read -r line"], stdin=subprocess.PIPE) as trial:
        try:
            group.directories["pids"].mkdir(exist_ok=True)
            group.add(trial.pid)
        except OSError:
            return False
        finally:
            trial.kill()
            trial.wait()
            group.remove()
    return True


def _enable(candidate: Path, base: Path) -> set[str]:
    """Pass the controllers on to ``base`` and its children; return those that arrived."""
    for directory in (candidate, base):
        for controller in _WANTED:
            with contextlib.suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(
                    f"+{controller}", encoding="ascii"
                )
    try:
        return set((base / "cgroup.subtree_control").read_text(encoding="ascii").split())
    except OSError:
        return set()


def _can_make(path: Path) -> bool:
    try:
        path.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.W_OK)


def _own_groups() -> dict[str, str]:
    """Return our own group by controller; ``""`` is the group of version 2."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _mounts() -> list[tuple[str, list[str], Path, str]]:
    """Return kind, options, mount point and root of every control group file system."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            fields = before.split(" ")
            found.append((kind, options.split(","), Path(fields[4]), fields[3]))
    return found


def _below(mounted: Path, root: str, path: str) -> Path:
    """Return where the group ``path`` is when ``root`` is mounted at ``mounted``."""
    inside = path.removeprefix(root.rstrip("/")).lstrip("/")
    full = mounted / inside
    return full if full.is_dir() else mounted
