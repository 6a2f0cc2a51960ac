"""What every protocol is asked for. One that lacks an operation inherits a clear refusal."""

from __future__ import annotations

from opensandbox_jupyter.wire.protocol.code import CodeCalls
from opensandbox_jupyter.wire.protocol.commands import CommandCalls
from opensandbox_jupyter.wire.protocol.egress import EgressCalls
from opensandbox_jupyter.wire.protocol.files import FileCalls
from opensandbox_jupyter.wire.protocol.isolated import IsolatedCalls
from opensandbox_jupyter.wire.protocol.lifecycle import LifecycleCalls
from opensandbox_jupyter.wire.protocol.ports import PortCalls
from opensandbox_jupyter.wire.protocol.pty import PtyCalls
from opensandbox_jupyter.wire.protocol.snapshots import SnapshotCalls

__all__ = ["Protocol"]


class Protocol(
    LifecycleCalls,
    CommandCalls,
    CodeCalls,
    FileCalls,
    PtyCalls,
    PortCalls,
    SnapshotCalls,
    EgressCalls,
    IsolatedCalls,
):
    """The operations of the SDK, on a lifecycle ``server`` or on one ``sandbox``'s daemon.

    Methods return an operation for a driver to run, except those that return a :class:`Call`,
    whose answer is a stream.
    """
