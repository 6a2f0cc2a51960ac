"""Snapshots: what a sandbox's file system was at a moment, to begin others from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from opensandbox_jupyter.runtime_file import private_directory
from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.copying import copy_tree
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.records import Record, Records, Snapshot
from opensandbox_jupyter.server.trash import Trash

__all__ = ["Snapshots"]

_LOG = logging.getLogger(__name__)
_AT_ONCE = 2


class Snapshots:
    """Every snapshot that there is: its record, and its files below the data directory."""

    def __init__(self, records: Records, data: Path, trash: Trash) -> None:
        self._shelf = records.snapshots
        self._homes = private_directory(data / "snapshots")
        self._trash = trash
        self._known: dict[str, Snapshot] = {}
        self._readers: dict[str, int] = {}
        self._halt = threading.Event()
        self.turns = asyncio.Semaphore(_AT_ONCE)
        """To be held while one is taken: few at once, and none stands still in a queue."""

    def all(self) -> list[Snapshot]:
        """Return every snapshot that is not a template's, newest first."""
        found = [one for one in self._known.values() if not one.template_id]
        return sorted(found, key=lambda one: (-one.created, one.id))

    def of_templates(self) -> list[Snapshot]:
        """Return those that templates have."""
        return [one for one in self._known.values() if one.template_id]

    def get(self, snapshot_id: str) -> Snapshot:
        """Return one snapshot. Raises: Refusal 404."""
        found = self._known.get(snapshot_id)
        if found is None:
            raise Refusal(404, "SNAPSHOT::NOT_FOUND", f"There is no snapshot {snapshot_id!r}.")
        return found

    def ready(self, snapshot_id: str) -> Snapshot:
        """Return one that a sandbox can begin from. Raises: Refusal 404 or 409."""
        found = self.get(snapshot_id)
        if found.state != "Ready":
            raise Refusal(409, "SNAPSHOT::NOT_READY", f"The snapshot is {found.state}.")
        return found

    def accept(self, source: Record, name: str | None, template_id: str = "") -> Snapshot:
        """Return the record of a snapshot that is about to be taken, for a template or not."""
        snapshot = Snapshot(
            id=str(uuid.uuid4()),
            sandbox_id=source.id,
            image=source.image,
            created=wall(),
            name=name,
            base=source.base,
            image_env=source.image_env,
            cwd=source.cwd,
            template_id=template_id,
        )
        self._known[snapshot.id] = snapshot
        self._say(snapshot, "Creating", "snapshot_accepted", "")
        return snapshot

    async def take(self, snapshot: Snapshot, layer: Path) -> None:
        """Copy ``layer``, in which nothing moves meanwhile. A failure is the snapshot's state."""
        home = self._homes / snapshot.id
        try:
            home.mkdir(mode=0o700)
            snapshot.size = await asyncio.to_thread(
                copy_tree, layer, home / "root", halt=self._halt
            )
        except OSError as error:
            await asyncio.to_thread(self._trash.throw, home)
            self.fail(snapshot, f"The files could not be copied: {error}")
        else:
            self._say(snapshot, "Ready", "snapshot_ready", "")

    def fail(self, snapshot: Snapshot, message: str) -> None:
        """Say that a snapshot could not be taken."""
        _LOG.warning("snapshot %s failed: %s", snapshot.id, message)
        self._say(snapshot, "Failed", "snapshot_failed", message)

    @contextlib.contextmanager
    def reading(self, snapshot: Snapshot) -> Iterator[Path]:
        """Return the files, which are not deleted as long as they are read."""
        self._readers[snapshot.id] = self._readers.get(snapshot.id, 0) + 1
        try:
            yield self._homes / snapshot.id / "root"
        finally:
            self._readers[snapshot.id] -= 1

    async def delete(self, snapshot_id: str) -> None:
        """Free the disk and forget it. Raises: Refusal 404, or 409 while it is in use."""
        snapshot = self.get(snapshot_id)
        if snapshot.state in {"Creating", "Deleting"} or self._readers.get(snapshot_id):
            raise Refusal(
                409, "SNAPSHOT::INVALID_STATE", "The snapshot is being made, read or deleted."
            )
        self._say(snapshot, "Deleting", "snapshot_deleting", "")
        await asyncio.shield(self._remove(snapshot))

    async def recover(self) -> None:
        """Take over what an earlier server left, finished or not."""
        for snapshot in self._shelf.all():
            self._known[snapshot.id] = snapshot
        for snapshot in list(self._known.values()):
            if snapshot.state == "Deleting":
                await self._remove(snapshot)
            elif snapshot.state == "Creating":
                await asyncio.to_thread(self._trash.throw, self._homes / snapshot.id)
                self.fail(snapshot, "The server ended before the files were copied.")
        for path in list(self._homes.iterdir()):
            if path.name not in self._known:
                await asyncio.to_thread(self._trash.throw, path)

    def close(self) -> None:
        """End copies that are under way."""
        self._halt.set()

    async def _remove(self, snapshot: Snapshot) -> None:
        await asyncio.to_thread(self._trash.throw, self._homes / snapshot.id)
        self._shelf.remove(snapshot.id)
        self._known.pop(snapshot.id, None)
        self._readers.pop(snapshot.id, None)

    def _say(self, snapshot: Snapshot, state: str, reason: str, message: str) -> None:
        snapshot.state, snapshot.reason, snapshot.message = state, reason, message[:1000]
        snapshot.transition = wall()
        self._shelf.save(snapshot)
