"""Giving up, for good, what a process may do."""

from __future__ import annotations

import ctypes
import errno
import struct

from opensandbox_jupyter.execd.kernel import call

__all__ = ["bound_capabilities", "filter_calls", "keep_capabilities"]

_PR_CAPBSET_DROP = 24
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522


def keep_capabilities(kept: int) -> None:
    """Give up every capability but those of the mask ``kept``; none is inherited.

    Raises:
        OSError: the kernel refuses.
    """
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))


def bound_capabilities(kept: int) -> None:
    """Let no program that is started ever have a capability beyond those of the mask ``kept``.

    Raises:
        OSError: the kernel refuses.
    """
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(64):
        if not kept >> number & 1:
            try:
                call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
            except OSError as error:
                if error.errno == errno.EINVAL and number > 0:
                    return  # the kernel has no more of them
                raise


def filter_calls(program: bytes) -> None:
    """Put this process and all that it starts under a filter of system calls.

    Raises:
        OSError: the kernel refuses.
    """
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, head, 0, 0)
