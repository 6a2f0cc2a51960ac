"""Commands that belong to a sandbox's life: what clients ask for, and what execd is told."""

from __future__ import annotations

from typing import Annotated

import msgspec

from opensandbox_jupyter.hosting.schedules import Schedule

__all__ = ["Hook", "Hooks", "PeriodicHook"]

_MOST = 32
_MOST_BYTES = 64 * 1024
_Command = Annotated[list[str], msgspec.Meta(min_length=1, max_length=1024)]


class Hook(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A command that runs before the entrypoint; when it fails, the sandbox does not start."""

    command: _Command
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=10_800)] = 60


class PeriodicHook(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A command that runs again and again; one that still runs is not started a second time."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    schedule: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    command: _Command
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=300)] = 60


class Hooks(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """All hooks of a sandbox."""

    pre_start: Hook | None = None
    periodic: list[PeriodicHook] | None = None

    def __bool__(self) -> bool:
        return self.pre_start is not None or bool(self.periodic)

    def check(self) -> None:
        """Refuse what the types allow and nobody can run. Raises: ValueError."""
        periodic = self.periodic or []
        names = [hook.name.strip() for hook in periodic]
        if not all(names) or len(set(names)) < len(names) or len(names) > _MOST:
            raise ValueError(f"Periodic hooks need names that differ, and there are {_MOST} most.")
        commands = [hook.command for hook in periodic]
        if self.pre_start is not None:
            commands.append(self.pre_start.command)
        for command in commands:
            if not command[0].strip() or any("\0" in word for word in command):
                raise ValueError("The command of a hook must name a program.")
            if sum(len(word) for word in command) > _MOST_BYTES:
                raise ValueError("The command of a hook is too long.")
        for hook in periodic:
            Schedule(hook.schedule)
