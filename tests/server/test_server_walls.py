"""The boundary itself, written down: a difference here needs a reviewer."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from dataclasses import replace

import pytest

from opensandbox_jupyter.server import seccomp
from opensandbox_jupyter.server.jail import (
    Bind,
    Descriptors,
    Jail,
    Programs,
    Share,
    confined_command,
    inner_options,
    outer_options,
)

JAIL = Jail(
    root="/data/sandboxes/one/root",
    hostname="abcd1234",
    supplies=(
        Bind("/usr", "/usr"),
        Bind("/home/u/.pyenv", "/opt/opensandbox/python"),
    ),
    library=Bind("/home/u/.cache/one", "/opt/opensandbox/lib"),
    environment={"LANG": "C.UTF-8"},
    existing_proc=frozenset({"/proc/sys", "/proc/kcore"}),
)
NUMBERS = Descriptors(seccomp=7, status=8, block=9)

INNER = """
--unshare-user --unshare-all --new-session --die-with-parent --disable-userns
--cap-drop ALL --uid 0 --gid 0 --hostname abcd1234
--seccomp 7 --json-status-fd 8 --block-fd 9
--bind {root} /
--ro-bind {usr} /usr --ro-bind {python} /opt/opensandbox/python
--ro-bind {library} /opt/opensandbox/lib
--proc /proc --ro-bind /proc/sys /proc/sys --ro-bind /dev/null /proc/kcore
--dev /dev --perms 1777 --size 67108864 --tmpfs /dev/shm --remount-ro /dev
--setenv LANG C.UTF-8 --chdir /
"""

OUTER = """
--unshare-pid --die-with-parent
--ro-bind /usr /usr --symlink usr/bin /bin
--bind /proc /proc --dev-bind /dev /dev
--perms 0755 --dir /tmp --perms 0755 --dir /src
--ro-bind /usr /src/0 --ro-bind /home/u/.pyenv /src/1 --ro-bind /home/u/.cache/one /src/library
--bind /data/sandboxes/one/root /src/root
--chdir /
"""


def test_the_walls_of_an_ordinary_user() -> None:
    places = {
        "root": JAIL.root, "usr": "/usr", "python": "/home/u/.pyenv",
        "library": "/home/u/.cache/one",
    }  # fmt: skip
    assert inner_options(JAIL, NUMBERS) == INNER.format(**places).split()


def test_the_walls_of_root() -> None:
    programs = Programs((Bind("/usr", "/usr"),), (Bind("usr/bin", "/bin"),))
    options, seen = outer_options(JAIL, programs)
    places = {"root": "/src/root", "usr": "/src/0", "python": "/src/1", "library": "/src/library"}
    assert options == OUTER.split()
    assert inner_options(seen, NUMBERS) == INNER.format(**places).split()
    assert confined_command("/usr/bin/bwrap", "/usr/bin/setpriv", 2_000_000_000, 5) == (
        "/usr/bin/setpriv",
        "--reuid",
        "2000000000",
        "--regid",
        "2000000000",
        "--clear-groups",
        "--inh-caps=-all",
        "--no-new-privs",
        "--",
        "/usr/bin/bwrap",
        "--args",
        "5",
        "--",
    )


def test_what_an_old_bubblewrap_lacks_is_left_out() -> None:
    old = Jail(
        root="/r", hostname="h", supplies=(), library=Bind("/l", "/lib"), existing_proc=frozenset(),
        can_forbid_userns=False, can_size_tmpfs=False,
    )  # fmt: skip
    options = inner_options(old, NUMBERS)
    assert "--disable-userns" not in options
    assert "--size" not in options


def decide(machine: str, audit: int, number: int, first: int = 0, second: int = 0) -> int:
    """Run the filter as the kernel would and return what it decides."""
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    data = struct.pack("=iIQ6Q", number, audit, 0, first, second, 0, 0, 0, 0)
    value, at = 0, 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x06:
            return operand
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}
            at += yes if holds[operation] else no


ALLOW = 0x7FFF0000


def refused(error: int) -> int:
    return 0x00050000 | error


@pytest.mark.parametrize(
    ("machine", "audit", "socket_", "clone", "ioctl", "read", "keyctl"),
    [
        ("x86_64", 0xC000003E, 41, 56, 16, 0, 250),
        ("aarch64", 0xC00000B7, 198, 220, 29, 63, 219),
    ],
)
def test_the_filter_decides(
    machine: str, audit: int, socket_: int, clone: int, ioctl: int, read: int, keyctl: int
) -> None:
    assert decide(machine, audit, read) == ALLOW
    assert decide(machine, audit, keyctl) == refused(errno.EPERM)
    assert decide(machine, audit, 435) == refused(errno.ENOSYS)
    assert decide(machine, 0x40000003, 20) == refused(errno.ENOSYS)
    for family in range(64):
        allowed = family in {1, 2, 10, 16}
        expected = ALLOW if allowed else refused(errno.EAFNOSUPPORT)
        assert decide(machine, audit, socket_, family) == expected
        assert decide(machine, audit, socket_, family | 1 << 32) == expected
    assert decide(machine, audit, clone, 0x11) == ALLOW
    assert decide(machine, audit, clone, 0x003D0F00) == ALLOW  # a thread
    for flag in (
        0x00020000,
        0x02000000,
        0x04000000,
        0x08000000,
        0x10000000,
        0x20000000,
        0x40000000,
    ):
        assert decide(machine, audit, clone, flag | 0x11) == refused(errno.EPERM)
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32):
        assert decide(machine, audit, ioctl, 1, request) == refused(errno.EPERM)
    assert decide(machine, audit, ioctl, 1, 0x5413) == ALLOW


def test_x32_calls_are_refused() -> None:
    assert decide("x86_64", 0xC000003E, 0x40000000 | 39) == refused(errno.ENOSYS)


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(LookupError, match="riscv64"):
        seccomp.program("riscv64")


def test_the_kernel_takes_the_filter() -> None:
    code = seccomp.program()
    pid = os.fork()
    if pid == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(code)
        program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
        libc.prctl(38, 1, 0, 0, 0)
        if libc.prctl(22, 2, ctypes.create_string_buffer(program)) != 0:
            os._exit(1)
        try:
            socket.socket(40, socket.SOCK_STREAM)
        except OSError as error:
            os._exit(0 if error.errno == errno.EAFNOSUPPORT else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_volumes_are_the_only_other_mounts() -> None:
    volumes = (Share("/v/a", "/data"), Share("/v/b", "/mnt/b", read_only=True))
    jail = replace(JAIL, volumes=volumes)
    plain, more = inner_options(JAIL, NUMBERS), inner_options(jail, NUMBERS)
    added = ["--bind", "/v/a", "/data", "--ro-bind", "/v/b", "/mnt/b"]
    at = more.index("/v/a") - 1
    assert more[at : at + len(added)] == added
    assert more[:at] + more[at + len(added) :] == plain
    assert {"/data", "/mnt/b"} <= set(jail.mount_points)

    options, seen = outer_options(jail, Programs((), ()))
    outer = ["--bind", "/v/a", "/src/volume0", "--ro-bind", "/v/b", "/src/volume1"]
    assert " ".join(outer) in " ".join(options)
    inner = "--bind /src/volume0 /data --ro-bind /src/volume1 /mnt/b"
    assert inner in " ".join(inner_options(seen, NUMBERS))
