"""Keys in the system's keyring, where the package ``keyring`` is installed and works."""

from __future__ import annotations

from contextlib import suppress

from opensandbox_jupyter.exceptions import InvalidArgumentException

__all__ = ["fetch", "forget", "store"]

_SERVICE = "opensandbox-jupyter"
_HINT = (
    "Set OPEN_SANDBOX_API_KEY, or give the key again with "
    "`opensandbox-jupyter profile add --replace`."
)


def store(entry: str, key: str) -> bool:
    """Put a key into the keyring; return whether it is really there."""
    try:
        import keyring

        keyring.set_password(_SERVICE, entry, key)
        return keyring.get_password(_SERVICE, entry) == key  # one backend forgets everything
    except Exception:  # a backend raises whatever its bus, daemon or library does
        return False


def fetch(entry: str, profile: str) -> str:
    """Return a key from the keyring.

    Raises:
        InvalidArgumentException: it is not there, or there is no keyring that works.
    """
    try:
        import keyring

        key = keyring.get_password(_SERVICE, entry)
    except ModuleNotFoundError as cause:
        raise InvalidArgumentException(
            f"The key of the profile {profile!r} is in the keyring, and keyring is not installed.",
            hint=f"Run: pip install 'opensandbox-jupyter[keyring]'. {_HINT}",
        ) from cause
    except Exception as cause:  # as above
        raise InvalidArgumentException(
            f"The keyring does not give the key of the profile {profile!r}: "
            f"{type(cause).__name__}.",
            hint=_HINT,
            cause=cause,
        ) from cause
    if not key:
        raise InvalidArgumentException(
            f"The key of the profile {profile!r} is not in the keyring any more.", hint=_HINT
        )
    return key


def forget(entry: str) -> None:
    """Take a key out of the keyring, if it is there."""
    with suppress(Exception):
        import keyring

        keyring.delete_password(_SERVICE, entry)
