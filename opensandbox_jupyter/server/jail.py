"""The walls of a sandbox, as arguments for bubblewrap. Nothing here touches the machine.

A sandbox of an ordinary user is one bubblewrap. Root's has a second one around it: that one
gathers everything the sandbox may see below ``/src``, where an ordinary uid can reach it, then
becomes that uid and starts the inner one. It has a pid namespace, because a dying parent without
capabilities may not signal a child of another uid: only the end of the namespace is certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

__all__ = [
    "CLEAN_PROC",
    "NESTING",
    "SPECIAL_PROC",
    "Bind",
    "Descriptors",
    "Jail",
    "Programs",
    "Share",
    "confined_command",
    "cover_proc",
    "inner_options",
    "outer_options",
]

_READ_ONLY_PROC = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_HIDDEN_PROC = (
    "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/timer_list",
)  # fmt: skip
SPECIAL_PROC = frozenset(_READ_ONLY_PROC + _HIDDEN_PROC)
"""Files of ``/proc`` that are covered where the kernel has them."""

CLEAN_PROC = ".proc"
"""A ``/proc`` with nothing over it: the kernel allows no new one to somebody who sees none."""

NESTING = 1 << 1 | 1 << 21 | 1 << 31
"""CAP_DAC_OVERRIDE, CAP_SYS_ADMIN and CAP_SETFCAP, in the sandbox's own user namespace: to look
into the work directory of an overlay, which the kernel makes for nobody, to make mounts, and to map
its root again."""

_PLACES = "/src"


@dataclass(frozen=True)
class Bind:
    """A host path and where the sandbox sees it, read-only."""

    source: str
    target: str


@dataclass(frozen=True)
class Share(Bind):
    """A volume: a host path and where the sandbox sees it, writable or not."""

    read_only: bool = False


@dataclass(frozen=True)
class Programs:
    """The host's own programs: directories, and links such as ``/bin``."""

    binds: tuple[Bind, ...]
    links: tuple[Bind, ...]

    def options(self) -> list[str]:
        """Return bubblewrap's options that put them at their usual places."""
        links = chain.from_iterable(("--symlink", b.source, b.target) for b in self.links)
        return [*_binds(self.binds), *links]


@dataclass(frozen=True)
class Descriptors:
    """Numbers of the inherited descriptors that bubblewrap itself uses."""

    seccomp: int
    status: int
    block: int


@dataclass(frozen=True)
class Jail:
    """One sandbox's walls."""

    root: str
    """The private layer, which becomes ``/``."""
    hostname: str
    supplies: tuple[Bind, ...]
    library: Bind
    """The modules of execd."""
    environment: Mapping[str, str] = field(default_factory=dict)
    existing_proc: frozenset[str] = SPECIAL_PROC
    """Which special files of ``/proc`` this kernel has."""
    can_forbid_userns: bool = True
    can_size_tmpfs: bool = True
    shm_bytes: int = 64 << 20
    volumes: tuple[Share, ...] = ()
    nests: bool = False
    """Whether execd may build walls of its own inside. Nothing that bubblewrap starts may."""

    @property
    def mount_points(self) -> list[str]:
        """Every path of the private layer on which something is mounted."""
        targets = [bind.target for bind in (self.library, *self.supplies, *self.volumes)]
        return ["/dev", "/proc", *targets]


def inner_options(jail: Jail, descriptors: Descriptors) -> list[str]:
    """Return bubblewrap's options for the sandbox itself."""
    return [
        *("--unshare-user", "--unshare-all", "--new-session", "--die-with-parent"),
        *(("--disable-userns",) if jail.can_forbid_userns and not jail.nests else ()),
        *("--cap-drop", "ALL", "--uid", "0", "--gid", "0", "--hostname", jail.hostname),
        *("--seccomp", str(descriptors.seccomp)),
        *("--json-status-fd", str(descriptors.status), "--block-fd", str(descriptors.block)),
        *("--bind", jail.root, "/"),
        *_binds(jail.supplies),
        *_shares(jail.volumes),
        *_binds([jail.library]),
        *(("--proc", f"{jail.library.target}/{CLEAN_PROC}") if jail.nests else ()),
        *_proc_options(jail),
        *_dev_options(jail),
        *chain.from_iterable(("--setenv", key, value) for key, value in jail.environment.items()),
        *("--chdir", "/"),
    ]


def outer_options(jail: Jail, programs: Programs) -> tuple[list[str], Jail]:
    """Return the options of the bubblewrap around root's sandbox, and the jail as seen there.

    Args:
        jail: the sandbox's walls, with paths of the host.
        programs: what the inner bubblewrap itself needs to run, at its usual place.
    """
    places = {bind.source: f"{_PLACES}/{n}" for n, bind in enumerate(jail.supplies)}
    places[jail.library.source] = f"{_PLACES}/library"
    shared = {volume: f"{_PLACES}/volume{n}" for n, volume in enumerate(jail.volumes)}
    inside = replace(
        jail,
        volumes=tuple(replace(volume, source=place) for volume, place in shared.items()),
        root=f"{_PLACES}/root",
        supplies=tuple(Bind(places[bind.source], bind.target) for bind in jail.supplies),
        library=Bind(places[jail.library.source], jail.library.target),
    )
    options = [
        *("--unshare-pid", "--die-with-parent"),
        *programs.options(),
        *("--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev"),
        *("--perms", "0755", "--dir", "/tmp", "--perms", "0755", "--dir", _PLACES),  # noqa: S108
        *_binds(Bind(source, place) for source, place in places.items()),
        *("--bind", jail.root, inside.root),
        *_shares(replace(volume, target=place) for volume, place in shared.items()),
        *("--chdir", "/"),
    ]
    return options, inside


def confined_command(bwrap: str, setpriv: str, uid: int, options: int) -> tuple[str, ...]:
    """Return the command that becomes ``uid`` for good and then starts the inner bubblewrap."""
    number = str(uid)
    return (
        *(setpriv, "--reuid", number, "--regid", number, "--clear-groups"),
        *("--inh-caps=-all", "--no-new-privs", "--"),
        *(bwrap, "--args", str(options), "--"),
    )


def _binds(binds: Iterable[Bind]) -> list[str]:
    return list(chain.from_iterable(("--ro-bind", b.source, b.target) for b in binds))


def _shares(volumes: Iterable[Share]) -> list[str]:
    return list(
        chain.from_iterable(
            ("--ro-bind" if v.read_only else "--bind", v.source, v.target) for v in volumes
        )
    )


def _proc_options(jail: Jail) -> list[str]:
    return ["--proc", "/proc", *cover_proc(jail.existing_proc)]


def cover_proc(existing: frozenset[str]) -> list[str]:
    """Return the options that cover the special files of ``/proc``."""
    options = []
    for path in _READ_ONLY_PROC:
        if path in existing:
            options += ["--ro-bind", path, path]
    for path in _HIDDEN_PROC:
        if path in existing:
            options += ["--ro-bind", "/dev/null", path]
    return options


def _dev_options(jail: Jail) -> list[str]:
    size = ("--size", str(jail.shm_bytes)) if jail.can_size_tmpfs else ()
    shared = ("--perms", "1777", *size, "--tmpfs", "/dev/shm")  # noqa: S108
    return ["--dev", "/dev", *shared, "--remount-ro", "/dev"]
