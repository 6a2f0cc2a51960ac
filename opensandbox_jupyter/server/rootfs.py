"""The private, writable layer of a sandbox: a directory with what every system expects to find."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from opensandbox_jupyter.server.identity import owner
from opensandbox_jupyter.server.images import Image

__all__ = ["ENV_FILE", "VENV", "build", "furnish", "secure_mount_points", "write_file"]

VENV = "/opt/venv"
"""The environment that is first on ``PATH``; ``pip install`` goes there."""

ENV_FILE = "/opt/opensandbox/.env"
"""Variables that a person adds to every later command."""

_DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "mnt": 0o755, "opt": 0o755,
    "opt/opensandbox": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755, "srv": 0o755,
    "tmp": 0o1777, "usr": 0o755, "var": 0o755, "var/cache": 0o755, "var/lib": 0o755,
    "var/log": 0o755, "var/tmp": 0o1777, "workspace": 0o755,
}  # fmt: skip

_USERS = (
    "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
)
_GROUPS = "root:x:0:\ntty:x:5:\nstaff:x:50:\nnogroup:x:65534:\n"
_NAME_SERVICES = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
_SYSTEM_LINKS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_COPIED = ("etc/localtime", "etc/debian_version", "etc/os-release", "etc/services", "etc/protocols")
_APT = """\
#!/bin/sh
for word in "$@"; do
    case $word in install | reinstall | remove | purge | update | upgrade | *-upgrade)
        echo "This sandbox lies on its host's own system, whose packages stay as they are." >&2
        echo "Use pip install, or begin from an image with a file system of its own, such as" >&2
        echo "one that 'opensandbox-jupyter image import' makes on the host." >&2
        exit 100 ;;
    esac
done
exec "/usr/bin/${0##*/}" "$@"
"""
_PIP = f'#!/bin/sh\nexec {VENV}/bin/python3 -m pip "$@"\n'


def build(root: Path, image: Image, hostname: str, uid: int) -> None:
    """Make the layer at ``root``, which must not exist, and give it to ``uid``.

    Raises:
        OSError: it could not be made, for example because the disk is full.
    """
    root.mkdir(mode=0o755)
    for name, mode in _DIRECTORIES.items():
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name in _SYSTEM_LINKS:
        here = Path("/", name)
        if here.is_symlink():
            (root / name).symlink_to(os.readlink(here))
    (root / "var/run").symlink_to("/run")
    (root / "var/lock").symlink_to("/run/lock")
    _write_etc(root, hostname)
    _write_venv(root, image)
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            owner(Path(directory, name), uid)
    owner(root, uid)


def _write_etc(root: Path, hostname: str) -> None:
    texts = {
        **_names(hostname),
        "passwd": _USERS,
        "group": _GROUPS,
        "nsswitch.conf": _NAME_SERVICES,
        "shells": "/bin/sh\n/bin/bash\n",
    }
    for name, text in texts.items():
        (root / "etc" / name).write_text(text, encoding="utf-8")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    for name in _COPIED:
        with contextlib.suppress(OSError):
            shutil.copyfile(Path("/", name), root / name)


def furnish(root: Path, hostname: str, uid: int) -> None:
    """Put what the server decides into a copied file system, whatever links there are in it."""
    directories = [f"/{name}" for name in _DIRECTORIES]
    texts = {f"/etc/{name}": text for name, text in _names(hostname).items()}
    secure_mount_points(root, [(path, True) for path in directories], uid)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for path, text in texts.items():
        write_file(root, path, text.encode(), uid)


def write_file(root: Path, target: str, content: bytes, uid: int) -> None:
    """Write a file of the server's own into a layer, whatever links there are in it."""
    secure_mount_points(root, [(target, False)], uid)
    flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(root / target[1:], flags), "wb") as file:
        file.write(content)


def _names(hostname: str) -> dict[str, str]:
    hosts = f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {hostname}\n"
    return {
        "hosts": hosts,
        "hostname": f"{hostname}\n",
        "resolv.conf": "# This sandbox has no network of its own.\n",
    }


def _write_venv(root: Path, image: Image) -> None:
    venv = root / VENV.removeprefix("/")
    programs = venv / "bin"
    programs.mkdir(parents=True)
    (venv / "lib" / f"python{image.version}" / "site-packages").mkdir(parents=True)
    home = os.path.dirname(image.interpreter)  # a path inside the sandbox
    (venv / "pyvenv.cfg").write_text(
        f"home = {home}\ninclude-system-site-packages = true\nversion = {image.version}\n",
        encoding="utf-8",
    )
    (programs / "python3").symlink_to(image.interpreter)
    for name in ("python", f"python{image.version}"):
        (programs / name).symlink_to("python3")
    texts = {"pip": _PIP, "pip3": _PIP, "apt": _APT, "apt-get": _APT}
    for name, text in texts.items():
        if text is not _APT or Path("/usr/bin", name).exists():
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)


def secure_mount_points(root: Path, targets: Iterable[tuple[str, bool]], uid: int) -> None:
    """Make sure that each ``(target, is_directory)`` below ``root`` is a place of its own.

    Between two starts the layer belonged to the sandbox, which may have put links where the
    jail is about to mount things. A link or a thing of the wrong kind is replaced.
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for target, is_directory in targets:
            _secure(top, Path(target).parts[1:], is_directory, uid)
    finally:
        os.close(top)


def _secure(top: int, parts: tuple[str, ...], is_directory: bool, uid: int) -> None:
    here = os.dup(top)
    try:
        for part in parts[:-1]:
            below = _enter(here, part, uid)
            os.close(here)
            here = below
        if is_directory:
            os.close(_enter(here, parts[-1], uid))
        else:
            _secure_file(here, parts[-1], uid)
    finally:
        os.close(here)


def _enter(here: int, name: str, uid: int) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=here)
    except FileNotFoundError:
        pass
    except OSError:
        _put_aside(here, name)
    os.mkdir(name, 0o755, dir_fd=here)
    below = os.open(name, flags, dir_fd=here)
    _own(here, name, uid)
    return below


def _secure_file(here: int, name: str, uid: int) -> None:
    try:
        if stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            return
        _put_aside(here, name)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o644, dir_fd=here))
    _own(here, name, uid)


def _put_aside(here: int, name: str) -> None:
    aside = f"{name}.was-in-the-way-{os.urandom(4).hex()}"
    os.rename(name, aside, src_dir_fd=here, dst_dir_fd=here)


def _own(here: int, name: str, uid: int) -> None:
    if os.geteuid() == 0 and uid != 0:
        os.chown(name, uid, uid, dir_fd=here, follow_symlinks=False)
