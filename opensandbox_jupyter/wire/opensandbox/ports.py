"""Servers inside a sandbox, as execd reaches them."""

from __future__ import annotations

from opensandbox_jupyter.exceptions import SandboxApiException
from opensandbox_jupyter.wire.base import Call, Origin
from opensandbox_jupyter.wire.protocol.ports import PortCalls

__all__ = ["Ports"]


_NOBODY = ("BAD_GATEWAY", "BACKEND_CONNECTION_FAILED")


class Ports(PortCalls):
    """The daemon's way to ports of its sandbox."""

    def knock(self, sandbox: Origin, port: int, patience: float) -> Call:
        """GET /proxy/{port}/."""
        return Call("wait_for_port", sandbox, "GET", f"/proxy/{port}/", patience=patience)

    def nobody_answered(self, error: SandboxApiException) -> bool:
        """A 502 of the daemon has its code, or no body; a 502 of the server is an answer."""
        if error.status_code != 502:
            return False
        return error.error.code in _NOBODY or not (error.response_body or b"").strip()
