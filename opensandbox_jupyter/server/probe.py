"""What this host can do to isolate a sandbox, found out by doing it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from opensandbox_jupyter.server import provision, seccomp
from opensandbox_jupyter.server.identity import is_host_root, outer_uid

__all__ = ["Tools", "find_tools", "why_not"]

_TRUSTED_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"
_INSTALL = (
    "Sandboxes need bubblewrap, which is not installed here:"
    " install it, for example with `apt-get install bubblewrap`."
)
_SETTINGS = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor forbids programs to make user namespaces here: allow it to bwrap by an AppArmor"
        " profile, or set `sysctl kernel.apparmor_restrict_unprivileged_userns=0`.",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "This host forbids user namespaces: set `sysctl kernel.unprivileged_userns_clone=1`.",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "This host allows no user namespaces: raise `sysctl user.max_user_namespaces`.",
    ),
)


@dataclass(frozen=True)
class Tools:
    """The programs that build the walls, and which of their newer options they know."""

    bwrap: str
    version: str
    setpriv: str
    can_forbid_userns: bool
    can_size_tmpfs: bool


@cache
def find_tools() -> Tools | str:
    """Return the programs, or one sentence that says what to install."""
    path = _TRUSTED_PATH if os.geteuid() == 0 else f"{_TRUSTED_PATH}:{os.environ.get('PATH', '')}"
    bwrap = shutil.which("bwrap", path=path)
    if bwrap is None:
        return _INSTALL
    setpriv = shutil.which("setpriv", path=_TRUSTED_PATH) or ""
    if is_host_root() and not setpriv:
        return "A server run by root needs setpriv: install util-linux."
    try:
        version = _say([bwrap, "--version"]).removeprefix("bubblewrap").strip()
        options = _say([bwrap, "--help"])
    except (OSError, subprocess.SubprocessError) as error:
        return f"{bwrap} does not run: {error}."
    if "--perms" not in options:
        return f"bubblewrap {version} is too old: install version 0.5 or newer."
    return Tools(
        bwrap=bwrap,
        version=version,
        setpriv=setpriv,
        can_forbid_userns="--disable-userns" in options,
        can_size_tmpfs="--size" in options,
    )


def why_not() -> str | None:
    """Really start a tiny sandbox; return ``None``, or one sentence that says what forbids it."""
    tools = find_tools()
    if isinstance(tools, str):
        return tools
    try:
        seccomp.program()
        trial = _trial(tools)
    except LookupError as error:
        return str(error.args[0])
    try:
        result = subprocess.run(
            trial, env={}, cwd="/", capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{tools.bwrap} does not run: {error}."
    if result.returncode == 0:
        return None
    return _explain(result.stderr.decode("utf-8", "replace").strip())


def _trial(tools: Tools) -> list[str]:
    system = provision.programs().options()
    inner = [
        tools.bwrap,
        *("--unshare-user", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"),
        *(("--disable-userns",) if tools.can_forbid_userns else ()),
        *("--uid", "0", "--gid", "0", *system, "--proc", "/proc", "--dev", "/dev"),
        *("--", "/usr/bin/env", "true"),
    ]
    if not is_host_root():
        return inner
    uid = str(outer_uid(()))
    return [
        *(tools.bwrap, "--unshare-pid", "--die-with-parent", *system, "--bind", "/proc", "/proc"),
        *("--dev-bind", "/dev", "/dev", "--perms", "0755", "--dir", "/tmp"),  # noqa: S108
        *("--", tools.setpriv, "--reuid", uid, "--regid", uid, "--clear-groups", *inner),
    ]


def _explain(said: str) -> str:
    lines = said.splitlines()
    last = lines[-1] if lines else "bubblewrap gave no reason"
    for path, forbidding, sentence in _SETTINGS:
        try:
            if Path(path).read_text(encoding="ascii").strip() == forbidding:
                return sentence
        except OSError:
            continue
    if "proc" in last.lower():
        return (
            "This container hides parts of /proc, so that no sandbox can have its own:"
            f" start it with `--security-opt systempaths=unconfined` ({last})."
        )
    return (
        "This host does not let bubblewrap make namespaces. In a container, start it with"
        f" `--security-opt seccomp=unconfined` and, as root, `--cap-add SYS_ADMIN` ({last})."
    )


def _say(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, env={}, cwd="/", capture_output=True, timeout=20, check=True, text=True
    )
    return done.stdout
