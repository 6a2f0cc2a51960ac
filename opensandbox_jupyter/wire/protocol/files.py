"""What is asked of a sandbox's daemon about files."""

from __future__ import annotations

from collections.abc import Sequence

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Feed, Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["FileCalls"]

Query = Sequence[tuple[str, str]]


class FileCalls(Refusal):
    """Files and directories."""

    def download(
        self, sandbox: Origin, path: str, *, query: Query = (), range_header: str | None = None
    ) -> Call:
        """Read a file; the answer streams its bytes."""
        self._lacks("reading files")

    def upload(
        self,
        sandbox: Origin,
        entries: Sequence[models.WriteEntry],
        feeds: Sequence[Feed] | None = None,
    ) -> Operation[None]:
        """Write files: the data of ``entries``, or what ``feeds`` give, one for each entry."""
        self._lacks("writing files")

    def with_identity(self, sandbox: Origin, uid: int, gid: int) -> Origin:
        """Return where files are read and written as a user and group of the sandbox."""
        self._lacks("files of another user")

    def literal_paths(self, sandbox: Origin) -> Origin:
        """Return where paths are taken as they are, by a daemon that knows of it."""
        self._lacks("paths that are taken as they are")

    def make_directories(
        self, sandbox: Origin, entries: Sequence[models.WriteEntry]
    ) -> Operation[None]:
        """Make directories with their parents."""
        self._lacks("making directories")

    def delete_files(self, sandbox: Origin, paths: Sequence[str]) -> Operation[None]:
        """Delete files."""
        self._lacks("deleting files")

    def delete_directories(self, sandbox: Origin, paths: Sequence[str]) -> Operation[None]:
        """Delete directories with all that is in them."""
        self._lacks("deleting directories")

    def move(self, sandbox: Origin, entries: Sequence[models.MoveEntry]) -> Operation[None]:
        """Move files and directories."""
        self._lacks("moving files")

    def set_permissions(
        self, sandbox: Origin, entries: Sequence[models.SetPermissionEntry]
    ) -> Operation[None]:
        """Set owner, group and mode."""
        self._lacks("permissions")

    def replace(
        self, sandbox: Origin, entries: Sequence[models.ContentReplaceEntry]
    ) -> Operation[list[models.ContentReplaceResult]]:
        """Replace text in files and count how often."""
        self._lacks("replacing text")

    def search(
        self, sandbox: Origin, entry: models.SearchEntry
    ) -> Operation[list[models.EntryInfo]]:
        """Find files by glob."""
        self._lacks("searching files")

    def list_directory(
        self, sandbox: Origin, entry: models.DirectoryListEntry
    ) -> Operation[list[models.EntryInfo]]:
        """List a directory."""
        self._lacks("listing directories")

    def file_info(
        self, sandbox: Origin, paths: Sequence[str]
    ) -> Operation[dict[str, models.EntryInfo]]:
        """Get what is known about paths."""
        self._lacks("file information")
