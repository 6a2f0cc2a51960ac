"""The filter of system calls that every process of a sandbox runs under.

It is classic BPF, built here: a list of refused calls, an allow-list of socket families, and
refusals by argument for ``clone`` and ``ioctl``. Only the lower half of an argument counts where
the kernel reads an ``int``, so that setting the upper half changes nothing.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

__all__ = ["program"]

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24

_X32_BIT = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)  # UNIX, INET, INET6, NETLINK


@dataclass(frozen=True)
class _Machine:
    audit: int
    clone: int
    ioctl: int
    socket: int
    socketpair: int
    refused: dict[str, int]
    x32: bool = False


_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443,
    "open_tree_attr": 467,
}  # fmt: skip
"""Calls so young that every architecture numbers them alike."""

_X86_64 = _Machine(
    audit=0xC000003E,
    clone=56,
    ioctl=16,
    socket=41,
    socketpair=53,
    x32=True,
    refused={
        "ptrace": 101, "pivot_root": 155, "chroot": 161, "acct": 163, "settimeofday": 164,
        "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
        "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179,
        "lookup_dcookie": 212, "clock_settime": 227, "kexec_load": 246, "add_key": 248,
        "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
        "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
        "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, **_COMMON,
    },
)  # fmt: skip

_AARCH64 = _Machine(
    audit=0xC00000B7,
    clone=220,
    ioctl=29,
    socket=198,
    socketpair=199,
    refused={
        "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51,
        "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "ptrace": 117, "reboot": 142,
        "settimeofday": 170, "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224,
        "swapoff": 225, "perf_event_open": 241, "fanotify_init": 262, "name_to_handle_at": 264,
        "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "bpf": 280,
        "userfaultfd": 282, "kexec_file_load": 294, **_COMMON,
    },
)  # fmt: skip

_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}
_CLONE3 = 435
_ABSENT = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd"})
"""Refused as if the kernel were without them, so that libraries take their other way."""

_OF_BUBBLEWRAP = frozenset({"mount", "umount2", "pivot_root", "unshare"})

_Instruction = tuple[int, int, int, int]
_PASS: _Instruction = (_RETURN, 0, 0, _ALLOW)


def program(machine: str | None = None, *, nests: bool = False) -> bytes:
    """Return the filter for ``machine`` (default: this one), as bubblewrap wants it.

    One that ``nests`` lets bubblewrap work under it; execd puts the other one on what it starts.

    Raises:
        LookupError: no filter is known for that architecture.
    """
    name = machine or platform.machine()
    if name not in _MACHINES:
        raise LookupError(f"There is no system call filter for the architecture {name}.")
    code = _instructions(_MACHINES[name], nests)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _instructions(machine: _Machine, nests: bool) -> list[_Instruction]:
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, machine.audit),
        _refuse(errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine.x32:
        code += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), _refuse(errno.ENOSYS)]
    code += _when_number(_CLONE3, [_refuse(errno.ENOSYS)])
    code += _when_number(
        machine.clone,
        [
            (_LOAD, 0, 0, _FIRST),
            (_JUMP_ANY_BIT, 0, 1, 0 if nests else _NEW_NAMESPACES),
            _refuse(errno.EPERM),
            _PASS,
        ],
    )
    code += _when_number(machine.ioctl, _refuse_values(_SECOND, (_TIOCSTI, _TIOCLINUX)))
    for call in (machine.socket, machine.socketpair):
        code += _when_number(call, _allow_values(_FIRST, _FAMILIES))
    for call_name, number in sorted(machine.refused.items(), key=lambda item: item[1]):
        if nests and call_name in _OF_BUBBLEWRAP:
            continue
        error = errno.ENOSYS if call_name in _ABSENT else errno.EPERM
        code += [(_JUMP_EQUAL, 0, 1, number), _refuse(error)]
    return [*code, _PASS]


def _refuse(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)


def _when_number(number: int, body: list[_Instruction]) -> list[_Instruction]:
    """Run ``body``, which ends with a return, for the call ``number``."""
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _refuse_values(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    code: list[_Instruction] = [(_LOAD, 0, 0, argument)]
    for value in values:
        code += [(_JUMP_EQUAL, 0, 1, value), _refuse(errno.EPERM)]
    return [*code, _PASS]


def _allow_values(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    code: list[_Instruction] = [(_LOAD, 0, 0, argument)]
    for value in values:
        code += [(_JUMP_EQUAL, 0, 1, value), _PASS]
    return [*code, _refuse(errno.EAFNOSUPPORT)]
