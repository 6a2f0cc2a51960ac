"""What every protocol is asked for. One that lacks an operation inherits a clear refusal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

from opensandbox_jupyter.exceptions import UnsupportedOperationException
from opensandbox_jupyter.models.execd import CommandLogs, CommandStatus, RunCommandOpts
from opensandbox_jupyter.models.filesystem import (
    ContentReplaceEntry,
    ContentReplaceResult,
    DirectoryListEntry,
    EntryInfo,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
    WriteEntry,
)
from opensandbox_jupyter.models.sandboxes import (
    PagedSandboxInfos,
    SandboxCreateResponse,
    SandboxEndpoint,
    SandboxFilter,
    SandboxInfo,
    SandboxMetrics,
    SandboxRenewResponse,
)
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.wire.base import Call, Operation, Origin

__all__ = ["Protocol"]

Query = Sequence[tuple[str, str]]


class Protocol:
    """The operations of the SDK, on a lifecycle ``server`` or on one ``sandbox``'s daemon.

    Methods return an operation for a driver to run, except those that return a :class:`Call`,
    whose answer is a stream.
    """

    name = "this protocol"

    def _lacks(self, feature: str) -> NoReturn:
        raise UnsupportedOperationException(feature, self.name)

    # -- lifecycle -------------------------------------------------------------------------------
    def create(self, server: Origin, spec: SandboxSpec) -> Operation[SandboxCreateResponse]:
        """Create a sandbox."""
        self._lacks("creating a sandbox")

    def get(self, server: Origin, sandbox_id: str) -> Operation[SandboxInfo]:
        """Get one sandbox."""
        self._lacks("getting a sandbox")

    def list_sandboxes(self, server: Origin, which: SandboxFilter) -> Operation[PagedSandboxInfos]:
        """List sandboxes, a page at a time."""
        self._lacks("listing sandboxes")

    def kill(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """End a sandbox."""
        self._lacks("killing a sandbox")

    def pause(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """Pause a sandbox."""
        self._lacks("pausing a sandbox")

    def resume(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """Resume a paused sandbox."""
        self._lacks("resuming a sandbox")

    def renew(
        self, server: Origin, sandbox_id: str, expires_at: datetime
    ) -> Operation[SandboxRenewResponse]:
        """Set a sandbox's end of life."""
        self._lacks("renewing a sandbox")

    def endpoint(
        self, server: Origin, sandbox_id: str, port: int, *, use_server_proxy: bool
    ) -> Operation[SandboxEndpoint]:
        """Find out where a port of a sandbox is reached."""
        self._lacks("endpoints")

    # -- inside a sandbox ------------------------------------------------------------------------
    def ping(self, sandbox: Origin) -> Operation[None]:
        """Ask whether the daemon answers."""
        self._lacks("health checks")

    def metrics(self, sandbox: Origin) -> Operation[SandboxMetrics]:
        """Measure resource use now."""
        self._lacks("metrics")

    def run(self, sandbox: Origin, command: str | Sequence[str], opts: RunCommandOpts) -> Call:
        """Run a command; the answer streams its events."""
        self._lacks("running commands")

    def interrupt(self, sandbox: Origin, execution_id: str) -> Operation[None]:
        """End a running command."""
        self._lacks("interrupting commands")

    def command_status(self, sandbox: Origin, execution_id: str) -> Operation[CommandStatus]:
        """Ask how a command fares."""
        self._lacks("command status")

    def command_logs(
        self, sandbox: Origin, execution_id: str, cursor: int | None
    ) -> Operation[CommandLogs]:
        """Read a background command's output from a cursor on."""
        self._lacks("background logs")

    def download(
        self, sandbox: Origin, path: str, *, query: Query = (), range_header: str | None = None
    ) -> Call:
        """Read a file; the answer streams its bytes."""
        self._lacks("reading files")

    def upload(self, sandbox: Origin, entries: Sequence[WriteEntry]) -> Operation[None]:
        """Write files."""
        self._lacks("writing files")

    def make_directories(self, sandbox: Origin, entries: Sequence[WriteEntry]) -> Operation[None]:
        """Make directories with their parents."""
        self._lacks("making directories")

    def delete_files(self, sandbox: Origin, paths: Sequence[str]) -> Operation[None]:
        """Delete files."""
        self._lacks("deleting files")

    def delete_directories(self, sandbox: Origin, paths: Sequence[str]) -> Operation[None]:
        """Delete directories with all that is in them."""
        self._lacks("deleting directories")

    def move(self, sandbox: Origin, entries: Sequence[MoveEntry]) -> Operation[None]:
        """Move files and directories."""
        self._lacks("moving files")

    def set_permissions(
        self, sandbox: Origin, entries: Sequence[SetPermissionEntry]
    ) -> Operation[None]:
        """Set owner, group and mode."""
        self._lacks("permissions")

    def replace(
        self, sandbox: Origin, entries: Sequence[ContentReplaceEntry]
    ) -> Operation[list[ContentReplaceResult]]:
        """Replace text in files and count how often."""
        self._lacks("replacing text")

    def search(self, sandbox: Origin, entry: SearchEntry) -> Operation[list[EntryInfo]]:
        """Find files by glob."""
        self._lacks("searching files")

    def list_directory(
        self, sandbox: Origin, entry: DirectoryListEntry
    ) -> Operation[list[EntryInfo]]:
        """List a directory."""
        self._lacks("listing directories")

    def file_info(self, sandbox: Origin, paths: Sequence[str]) -> Operation[dict[str, EntryInfo]]:
        """Get what is known about paths."""
        self._lacks("file information")
