"""The first protocol: OpenSandbox's lifecycle server, and execd inside each sandbox."""

from __future__ import annotations

from opensandbox_jupyter.wire.opensandbox.code import Code
from opensandbox_jupyter.wire.opensandbox.egress import Egress
from opensandbox_jupyter.wire.opensandbox.execd import Commands
from opensandbox_jupyter.wire.opensandbox.files import Files
from opensandbox_jupyter.wire.opensandbox.isolated import Isolated
from opensandbox_jupyter.wire.opensandbox.lifecycle import Lifecycle
from opensandbox_jupyter.wire.opensandbox.ports import Ports
from opensandbox_jupyter.wire.opensandbox.pty import Terminals
from opensandbox_jupyter.wire.opensandbox.snapshots import Snapshots
from opensandbox_jupyter.wire.protocol import Protocol

__all__ = ["OpenSandbox"]


class OpenSandbox(
    Lifecycle, Commands, Code, Files, Terminals, Ports, Snapshots, Egress, Isolated, Protocol
):
    """All operations of OpenSandbox, as its API documents of version 0.1.0 describe them."""

    name = "OpenSandbox"
