"""Signed ways to a sandbox's ports: for whoever has the address, until a moment that it names.

What is signed is specified by the OpenSandbox lifecycle API; the signature is longer than the
original's, since here nobody but this server reads it.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.errors import Refusal

__all__ = ["SIGNED", "Signing"]

SIGNED = re.compile(rb"(/signed/([^/]+)/([0-9]{1,6})/([0-9a-z]{1,13})/([0-9a-f]{32}))(/.*)?")
"""A signed path: all but the rest, the sandbox, the port, the end, the signature, the rest."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Signing:
    """Signs and verifies, with a ``secret`` that a server has for itself."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.sha256(b"signed endpoints" + secret).digest()

    def path(self, sandbox_id: str, port: int, expires: str) -> str:
        """Return the path of a port until ``expires``, decimal seconds since 1970.

        Raises:
            Refusal: 400, that is no such moment, or it has passed.
        """
        if not re.fullmatch(r"[0-9]{1,15}", expires) or int(expires) <= wall():
            message = "`expires` is a moment that is still to come, in seconds since 1970."
            raise Refusal(400, "SANDBOX::INVALID_PARAMETER", message)
        end = _base36(int(expires))
        return f"/signed/{sandbox_id}/{port}/{end}/{self._sign(sandbox_id, str(port), end)}"

    def admits(self, path: bytes) -> bool:
        """Whether ``path`` is signed by this server, and still in time."""
        found = SIGNED.fullmatch(path)
        if found is None:
            return False
        sandbox_id, port, end, given = (found[n].decode("latin-1") for n in (2, 3, 4, 5))
        is_ours = hmac.compare_digest(given.encode(), self._sign(sandbox_id, port, end).encode())
        return is_ours and int(end, 36) > wall()

    def _sign(self, sandbox_id: str, port: str, end: str) -> str:
        lines = ("v1", "short", sandbox_id, port, end)
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        sized = b"".join(len(part).to_bytes(4, "big") + part for part in (self._secret, text))
        return hashlib.sha256(sized).hexdigest()[:32]


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"
