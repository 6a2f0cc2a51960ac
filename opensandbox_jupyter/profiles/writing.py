"""Changes the profile file: whole or not at all, and nothing that was there is lost.

Comments, order and tables of others stay. The new content is written beside the file, for its
owner only, read back, and put in its place at once; a link to the file stays a link. Writers of
this package wait for one another; a file that another program changed meanwhile is read anew.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxInternalException
from opensandbox_jupyter.profiles import keys
from opensandbox_jupyter.profiles.reading import (
    DEFAULT,
    KEY,
    KEYRING_ENTRY,
    Profile,
    list_profiles,
    named,
    parse,
    profile_path,
    read_bytes,
)

__all__ = ["add", "remove", "use"]

Data = MutableMapping[str, Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def add(
    name: str,
    *,
    domain: str = "",
    protocol: str | None = None,
    request_timeout: float | None = None,
    use_server_proxy: bool | None = None,
    api_key: str | None = None,
    key_in_file: bool = False,
    replace: bool = False,
) -> Profile:
    """Add a profile, or replace what one says. ``default`` is the table ``[connection]``.

    Args:
        name: letters, digits, ``-`` and ``_``; at most 64.
        domain: ``host[:port]``, with or without ``http(s)://``; empty for the embedded server.
        protocol: ``http`` or ``https``; ``None`` leaves it open.
        request_timeout: seconds, more than 0; ``None`` leaves it open.
        use_server_proxy: reach sandboxes through the server; ``None`` leaves it open.
        api_key: kept in the keyring where that works, else in the file. The key of ``default``
            is always in the file, because OpenSandbox's own command line looks there.
        key_in_file: keep the key in the file in any case.
        replace: allow that there is such a profile; fields that are not its settings stay.

    Raises:
        InvalidArgumentException: for a value that cannot be used, a profile that exists, or a
            file that cannot be read.
        SandboxInternalException: the file cannot be written.
    """
    settings = {
        "domain": domain.strip(),
        "protocol": protocol and protocol.lower(),
        "request_timeout": _plain(request_timeout),
        "use_server_proxy": use_server_proxy,
        KEY: _checked_key(api_key),
        KEYRING_ENTRY: None,
    }
    _check(name, settings)
    entry = None
    if settings[KEY] and not key_in_file and name != DEFAULT:
        entry = f"{name}-{os.urandom(8).hex()}"  # never that of a profile which is still in use
        if keys.store(entry, str(settings[KEY])):
            settings.update({KEY: None, KEYRING_ENTRY: entry})

    def change(data: Data) -> object:
        home = data if name == DEFAULT else data.setdefault("profiles", {})
        place = "connection" if name == DEFAULT else name
        if not replace and home.get(place):
            raise InvalidArgumentException(
                f"There is already a profile {name!r}.",
                hint="--replace, or replace=True, changes it.",
            )
        old = home.get(place, {}).get(KEYRING_ENTRY)
        _fill(home, place, settings)
        return old

    try:
        old = _edit(change)
    except BaseException:
        if entry:
            keys.forget(entry)
        raise
    if old:
        keys.forget(str(old))
    return next(profile for profile in list_profiles() if profile.name == name)


def remove(name: str) -> None:
    """Remove a profile and its key. If it was in use, ``default`` is from then on.

    Raises:
        InvalidArgumentException: there is no such profile, or the file cannot be read.
        SandboxInternalException: the file cannot be written.
    """

    def change(data: Data) -> object:
        if name == DEFAULT:
            data.pop("connection", None)
            return None
        old = named(data, name).get(KEYRING_ENTRY)
        del data["profiles"][name]
        if not data["profiles"]:
            del data["profiles"]
        if data.get("profile") == name:
            del data["profile"]
        return old

    old = _edit(change)
    if old:
        keys.forget(str(old))


def use(name: str) -> None:
    """Use a profile from now on, in all programs of this user that name none.

    Raises:
        InvalidArgumentException: there is no such profile, or the file cannot be read.
        SandboxInternalException: the file cannot be written.
    """

    def change(data: Data) -> None:
        if name == DEFAULT:
            data.pop("profile", None)
        else:
            named(data, name)
            data["profile"] = name

    _edit(change)


def _check(name: str, settings: dict[str, Any]) -> None:
    """Refuse what could not be used later."""
    faults = {
        "name": not _NAME.fullmatch(name),
        "domain": not settings["domain"].isprintable() or " " in settings["domain"],
        "protocol": settings["protocol"] not in (None, "http", "https"),
        "request_timeout": not 0 < (settings["request_timeout"] or 1) < float("inf"),
    }
    for what, wrong in faults.items():
        if wrong:
            value = name if what == "name" else settings[what]
            raise InvalidArgumentException(
                f"The {what.replace('_', ' ')} of a profile cannot be {value!r}."
            )


def _plain(seconds: float | None) -> float | None:
    """Return whole seconds as a whole number, as people write them."""
    return int(seconds) if seconds and seconds == seconds // 1 else seconds


def _checked_key(key: str | None) -> str | None:
    key = (key or "").strip()
    if not key.isprintable():
        raise InvalidArgumentException("The key is not one line of plain text.")
    return key or None


def _fill(home: Data, place: str, settings: dict[str, Any]) -> None:
    """Put settings into a table, made if need be; ``None`` takes a setting out."""
    if place not in home:
        home[place] = {name: value for name, value in settings.items() if value is not None}
        return
    for name, value in settings.items():
        if value is not None:
            home[place][name] = value
        else:
            home[place].pop(name, None)


def _edit(change: Callable[[Data], Any]) -> Any:
    """Apply ``change`` to the file and return what it returns."""
    path = Path(os.path.realpath(profile_path()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.parent):
            while True:
                before = read_bytes(path)
                after, result = _changed(path, before or b"", change)
                if after == (before or b"") or _replace(path, before, after):
                    return result
    except OSError as cause:
        raise SandboxInternalException(
            f"The profile file {path} cannot be written: {cause.strerror or cause}.",
            cause=cause,
            hint="It is as it was.",
        ) from cause


def _changed(path: Path, before: bytes, change: Callable[[Data], Any]) -> tuple[bytes, Any]:
    """Return the new content, and what ``change`` returns.

    The style-preserving library is not trusted: what it writes must say what was meant.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    wanted = parse(path, before)
    result = change(wanted)
    try:
        document = tomlkit.parse(before)
        change(document)
        after = tomlkit.dumps(document).encode()
        if parse(path, after) != wanted:
            raise ValueError("the change would damage it")
    except (InvalidArgumentException, TOMLKitError, ValueError, TypeError, KeyError) as cause:
        raise InvalidArgumentException(
            f"The profile file {path} is written in a way that only you can change.",
            hint="Write each profile as a table of its own, such as [profiles.work].",
            cause=cause,
        ) from cause
    return after, result


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait for other writers; where the file system knows no locks, go on."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, before: bytes | None, after: bytes) -> bool:
    """Put ``after`` in the place of ``before``; return ``False`` if that is not there any more."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            _keep_owner(path, file.fileno())
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        if read_bytes(path) != before:
            return False
        draft.replace(path)
        return True
    finally:
        draft.unlink(missing_ok=True)


def _keep_owner(path: Path, descriptor: int) -> None:
    """Leave a file that root changes to whom it belongs."""
    with suppress(FileNotFoundError):
        status = path.stat()
        if os.geteuid() == 0 and status.st_uid != 0:
            os.fchown(descriptor, status.st_uid, status.st_gid)
