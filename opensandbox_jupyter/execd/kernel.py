"""Calls of the kernel that Python does not offer."""

from __future__ import annotations

import ctypes
import os

__all__ = ["call", "system_call"]

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library that answers 0 when it went well. Raises: OSError."""
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def system_call(number: int, *arguments: object) -> int:
    """Return what a system call answers: below 0 is a failure."""
    return int(_libc.syscall(number, *arguments))
