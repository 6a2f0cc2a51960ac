"""What a person should know about this host before trusting sandboxes on it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass

from opensandbox_jupyter.runtime_file import places
from opensandbox_jupyter.server import cgroups, probe, provision
from opensandbox_jupyter.server.disk import DISK_SECONDS
from opensandbox_jupyter.server.identity import is_host_root
from opensandbox_jupyter.server.space import space_of

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    """One check: ``is_well`` is ``None`` where things work with less than the whole promise."""

    subject: str
    is_well: bool | None
    text: str


def examine() -> list[Finding]:
    """Check this host, a real sandbox included. Blocks for a moment."""
    return [
        _system(), _programs(), _isolation(), _user(), _limits(), _disk(), _network(), _images(),
    ]  # fmt: skip


def _system() -> Finding:
    text = f"Linux {platform.release()} on {platform.machine()}, Python {platform.python_version()}"
    is_well = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}
    return Finding("system", is_well, text)


def _programs() -> Finding:
    tools = probe.find_tools()
    if isinstance(tools, str):
        return Finding("bubblewrap", False, tools)
    text = f"version {tools.version} at {tools.bwrap}"
    if not tools.can_forbid_userns:
        return Finding("bubblewrap", None, f"{text}; 0.8 or newer also forbids user namespaces")
    return Finding("bubblewrap", True, text)


def _isolation() -> Finding:
    reason = probe.why_not()
    if reason is not None:
        return Finding("isolation", False, reason)
    return Finding("isolation", True, "a sandbox with namespaces of its own could be started")


def _user() -> Finding:
    if is_host_root():
        return Finding("user", True, "root; every sandbox gets an ordinary user id of its own")
    return Finding("user", True, "an ordinary user; sandboxes run as that user, in own namespaces")


def _limits() -> Finding:
    found = cgroups.detect(f"doctor-{os.getpid()}")
    if found is not None:
        found.close()
    missing = [name for name in ("cpu", "memory", "pids") if not found or not found.can(name)]
    if not missing:
        return Finding("limits", True, "cpu, memory and processes are limited for each sandbox")
    return Finding(
        "limits",
        None,
        f"no control group for {', '.join(missing)}: memory and processes are limited one process"
        " at a time, and cpu not at all; start the server in a delegated group, for example with"
        " `systemd-run --user --scope -p Delegate=yes opensandbox-jupyter serve`",
    )


def _disk() -> Finding:
    data = places().data
    while not data.exists():
        data = data.parent
    free, kept = space_of(data)
    text = (
        f"{free >> 20} MiB are free; a sandbox that grows while less than {kept >> 20} MiB are is"
        f" paused, and so is one over its own limit; looked at every {DISK_SECONDS:.0f} s, as there"
        " are no quotas"
    )
    return Finding("disk", None if free < kept else True, text)


def _network() -> Finding:
    return Finding(
        "network", True, "HTTP and HTTPS leave by a proxy that knows each policy; nothing else does"
    )


def _images() -> Finding:
    try:
        provision.own_python(is_foreign=True)
    except LookupError as error:
        return Finding("images", None, str(error.args[0]))
    return Finding(
        "images",
        True,
        "imported images bring their own system; each sandbox has a copy of it. pip installs in any"
        " sandbox, apt in those alone, and there only what needs no second user id",
    )
