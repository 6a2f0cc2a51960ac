"""The sandboxes of this server: from create to delete, and over a restart of the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from opensandbox_jupyter.egress.policy import NetworkPolicy
from opensandbox_jupyter.egress.vault import Vault
from opensandbox_jupyter.hosting.relay import Relay
from opensandbox_jupyter.server.beginnings import Beginning, Beginnings
from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.entries import Entry
from opensandbox_jupyter.server.errands import Errands
from opensandbox_jupyter.server.errors import Refusal, not_found, start_failed
from opensandbox_jupyter.server.expiry import Expiry
from opensandbox_jupyter.server.identity import outer_uid, shared_uid
from opensandbox_jupyter.server.image_store import ImageStore
from opensandbox_jupyter.server.records import Record, Records, Snapshot
from opensandbox_jupyter.server.requests import CreateSandbox
from opensandbox_jupyter.server.snapshots import Snapshots
from opensandbox_jupyter.server.spares import Spare, Spares
from opensandbox_jupyter.server.ways_out import WaysOut, policy_of

if TYPE_CHECKING:
    from opensandbox_jupyter.server.process import Confined
    from opensandbox_jupyter.server.workshop import Started, Workshop

__all__ = ["Sandboxes"]

_LOG = logging.getLogger(__name__)
_STARTS_AT_ONCE = 8


_Maker = Callable[[Entry], Awaitable[None]]


class Sandboxes:
    """Every sandbox that there is."""

    def __init__(
        self,
        records: Records,
        workshop: Workshop,
        snapshots: Snapshots,
        images: ImageStore,
        spares: int = 0,
    ) -> None:
        self._records = records
        self._workshop = workshop
        self._snapshots = snapshots
        self._beginnings = Beginnings(images, snapshots)
        self._entries: dict[str, Entry] = {}
        self._errands = Errands()
        self._expiry = Expiry(self._remove, self._is_there, self._errands)
        self._starts = asyncio.Semaphore(_STARTS_AT_ONCE)
        self._is_closing = False
        self._ways_out = WaysOut(self._is_ours)
        self._spares = Spares(spares, records, workshop, self._ways_out, self._uids)
        self.server_port = 0
        """The port of the server itself, which no sandbox may reach; known once it listens."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs here or may run again."""
        return not any(entry.record.alive for entry in self._entries.values())

    def entry(self, sandbox_id: str) -> Entry:
        """Return what is known of one sandbox. Raises: Refusal 404."""
        return self._entry(sandbox_id)

    def records(self) -> list[Record]:
        """Return what there is, newest first."""
        found = [entry.record for entry in self._entries.values()]
        return sorted(found, key=lambda record: (-record.created, record.id))

    def get(self, sandbox_id: str) -> Record:
        """Return one sandbox. Raises: Refusal 404."""
        return self._entry(sandbox_id).record

    def check(self, request: CreateSandbox) -> None:
        """Refuse what can be refused without making anything. Raises: Refusal."""
        self._beginnings.find(request.image_uri, request.snapshot_id)
        request.record("", "", 0.0, 0)

    async def create(self, request: CreateSandbox) -> Record:
        """Make a sandbox and return it running.

        Raises:
            Refusal: it cannot be made; nothing is left of it.
        """
        begin = self._beginnings.find(request.image_uri, request.snapshot_id)
        self._workshop.check()
        record = request.record(str(uuid.uuid4()), secrets.token_hex(32), wall(), 0)
        begin.stamp(record)
        record.egress_token = secrets.token_hex(32)
        spare = None
        if request.fits_a_spare and begin.is_bare and begin.system is not None:
            spare = await self._spares.take(begin.system)
        try:
            if spare is not None:
                claimed = msgspec.structs.replace(record)
                spare.name(claimed)
                with contextlib.suppress(OSError):
                    return await self._settle(claimed, self._claim(spare), spare.started)
            await asyncio.to_thread(self._workshop.check_volumes, record)
            record.outer_uid = outer_uid(self._uids() | self._spares.uids)
            if any(volume.claim for volume in record.volumes):
                record.outer_uid = shared_uid()
            return await self._settle(record, self._make(begin))
        finally:
            self._spares.refill()

    async def _settle(self, record: Record, make: _Maker, started: Started | None = None) -> Record:
        """Let ``make`` bring a sandbox to life, or leave nothing of it, nor of ``started``."""
        entry = self._entries[record.id] = Entry(record)
        if started is not None:
            entry.confined, entry.group = started.confined, started.group
        async with entry.lock:
            try:
                self._records.save(record)
                await make(entry)
            except BaseException:
                await asyncio.shield(self._remove(entry))
                raise
            self._say(entry, "Running", "SANDBOX_RUNNING", self._workshop.describe(record))
        self._expiry.watch(entry)
        _LOG.info("created %s from %s", record.id, record.image)
        return record

    def _make(self, begin: Beginning) -> _Maker:
        async def make(entry: Entry) -> None:
            if begin.is_bare and begin.system is not None:
                await asyncio.to_thread(self._workshop.build, entry.record, begin.system)
            else:
                with self._beginnings.files(begin) as files:
                    await asyncio.to_thread(self._workshop.restore, entry.record, files)
            await self._start(entry)

        return make

    def _claim(self, spare: Spare) -> _Maker:
        async def claim(entry: Entry) -> None:
            await self._adopt(entry, spare.started)
            self._ways_out.apply(entry.record)
            await self._workshop.claim(entry.record, spare.started)

        return claim

    async def delete(self, sandbox_id: str) -> None:
        """Kill everything in a sandbox, free its disk, forget it."""
        entry = self._entry(sandbox_id)
        is_starting = entry.is_unwanted = entry.record.state == "Pending"
        if is_starting and entry.confined is not None:
            await entry.confined.kill(entry.group)  # so that its create fails and lets us in
        async with entry.lock:
            if self._is_there(entry):
                await asyncio.shield(self._remove(entry))
            elif not is_starting:
                raise not_found(sandbox_id)
        _LOG.info("deleted %s", sandbox_id)

    async def pause(
        self,
        sandbox_id: str,
        reason: str = "SANDBOX_PAUSED",
        message: str = "Its processes stand still.",
    ) -> None:
        """Stop every process of a running sandbox where it is, and say why."""
        entry = self._entry(sandbox_id)
        async with entry.lock:
            if entry.record.state != "Running" or entry.confined is None:
                raise Refusal(
                    409,
                    "DOCKER::SANDBOX_NOT_RUNNING",
                    f"Only a running sandbox can be paused; this one is {entry.record.state}.",
                )
            entry.open_way_in(False)
            if not await asyncio.to_thread(entry.freeze):
                entry.open_way_in(True)
                raise Refusal(500, "DOCKER::SANDBOX_PAUSE_FAILED", "Its processes did not stop.")
            self._say(entry, "Paused", reason, message)

    async def resume(self, sandbox_id: str) -> None:
        """Let the processes of a paused sandbox go on."""
        entry = self._entry(sandbox_id)
        async with entry.lock:
            if entry.record.state != "Paused" or entry.confined is None:
                raise Refusal(
                    409,
                    "DOCKER::SANDBOX_NOT_PAUSED",
                    f"Only a paused sandbox can be resumed; this one is {entry.record.state}.",
                )
            await asyncio.to_thread(entry.thaw)
            entry.open_way_in(True)
            message = self._workshop.describe(entry.record)
            self._say(entry, "Running", "SANDBOX_RUNNING", message)

    def snapshot(self, sandbox_id: str, name: str | None, template_id: str = "") -> Snapshot:
        """Begin to keep the files of a running sandbox, which stands still meanwhile."""
        entry = self._entry(sandbox_id)
        if entry.record.state != "Running":
            raise Refusal(
                409,
                "SNAPSHOT::INVALID_SOURCE_STATE",
                f"Only a running sandbox is taken a snapshot of; this one is {entry.record.state}.",
            )
        snapshot = self._snapshots.accept(entry.record, name, template_id)
        self._errands.send(self._keep(entry, snapshot))
        return snapshot

    async def _keep(self, entry: Entry, snapshot: Snapshot) -> None:
        async with self._snapshots.turns, entry.lock:
            if entry.record.state != "Running" or entry.confined is None:
                self._snapshots.fail(snapshot, "The sandbox ended before the files were copied.")
                return
            try:
                if await asyncio.to_thread(entry.freeze):
                    await self._snapshots.take(snapshot, self._workshop.layer(entry.record))
                else:
                    self._snapshots.fail(snapshot, "The sandbox's processes did not stand still.")
            finally:
                await asyncio.to_thread(entry.thaw)

    def renew(self, sandbox_id: str, expires: float) -> Record:
        """Let a sandbox expire at ``expires``, seconds since 1970, which may be sooner."""
        entry = self._entry(sandbox_id)
        self._expiry.renew(entry, expires)
        self._records.save(entry.record)
        return entry.record

    def patch_metadata(self, sandbox_id: str, patch: dict[str, str | None]) -> Record:
        """Set the strings of ``patch``, delete what is ``None``, and return the sandbox."""
        record = self._entry(sandbox_id).record
        merged = {**record.metadata, **patch}
        record.metadata = {key: value for key, value in merged.items() if value is not None}
        self._records.save(record)
        return record

    def port(self, sandbox_id: str) -> tuple[int, str]:
        """Return the loopback port that leads to a sandbox's execd, and its token."""
        entry = self._entry(sandbox_id)
        if entry.port == 0:
            raise Refusal(
                409,
                "DOCKER::SANDBOX_NOT_RUNNING",
                f"The sandbox is {entry.record.state}: {entry.record.message}",
            )
        return entry.port, entry.record.token

    def network_policy(self, sandbox_id: str) -> NetworkPolicy:
        """Return what a sandbox may reach."""
        return policy_of(self._entry(sandbox_id).record)

    def vault(self, sandbox_id: str) -> Vault | None:
        """Return a sandbox's credentials, ``None`` when it was made without."""
        return self._ways_out.vault(self._entry(sandbox_id).record)

    def set_network_policy(self, sandbox_id: str, policy: NetworkPolicy) -> None:
        """Write down what a sandbox may reach from now on, then cut what it may reach no more."""
        record = self._entry(sandbox_id).record
        document = msgspec.to_builtins(policy)
        self._records.save(msgspec.structs.replace(record, network_policy=document))
        record.network_policy = document
        self._ways_out.apply(record)

    async def recover(self) -> None:
        """Take over what an earlier server left: launch again, or remove, or say what failed."""
        await asyncio.to_thread(self._workshop.sweep)
        await self._snapshots.recover()
        found = self._records.all()
        await asyncio.to_thread(self._workshop.end_leftovers, found)
        for record in found:
            self._entries[record.id] = Entry(record)
        await asyncio.gather(*map(self._recover_one, list(self._entries.values())))
        self._workshop.remove_strangers(self._entries.keys())
        self._spares.refill(0)

    async def _recover_one(self, entry: Entry) -> None:
        record = entry.record
        record.egress_token = record.egress_token or secrets.token_hex(32)
        is_over = record.expires is not None and record.expires <= wall()
        async with entry.lock:
            if is_over or record.state in {"Pending", "Spare"}:
                await self._remove(entry)
                return
            if record.alive:
                await self._relaunch(entry)
        self._expiry.watch(entry)

    async def _relaunch(self, entry: Entry) -> None:
        try:
            self._workshop.check()
            await self._start(entry)
        except Exception as error:
            _LOG.warning("could not launch %s again: %s", entry.record.id, error)
            await self._put_down(entry)
            self._say(entry, "Failed", "RELAUNCH_FAILED", str(error))
        else:
            message = (
                "Its processes ended with an earlier server; it was started again on its files."
            )
            self._say(entry, "Running", "SERVER_RESTARTED", message)

    async def close(self) -> None:
        """End every process but keep records and files, for the next server to take over."""
        self._is_closing = True
        self._snapshots.close()
        await self._errands.cancel()
        for entry in self._entries.values():
            self._expiry.forget(entry)
        await self._spares.close()
        await asyncio.gather(*map(self._put_down, self._entries.values()))
        self._workshop.close()
        self._records.close()

    def _is_there(self, entry: Entry) -> bool:
        return self._entries.get(entry.record.id) is entry

    def _uids(self) -> set[int]:
        return {entry.record.outer_uid for entry in self._entries.values()}

    def _entry(self, sandbox_id: str) -> Entry:
        entry = self._entries.get(sandbox_id)
        if entry is None:
            raise not_found(sandbox_id)
        return entry

    async def _start(self, entry: Entry) -> None:
        async with self._starts:
            path = self._workshop.way_out_path(entry.record)
            way_out = await self._ways_out.open(entry.record, path)
            has_hooks = bool(entry.record.hooks)
            started = await self._workshop.start(entry.record, way_out, waits=has_hooks)
        await self._adopt(entry, started)
        try:
            if has_hooks and not entry.is_unwanted:
                await self._workshop.claim(entry.record, started)
        except OSError as error:
            if not entry.is_unwanted:
                raise start_failed(f"It ended while its preStart hook ran: {error}") from error
        if entry.is_unwanted:
            raise start_failed("It was deleted while it started.", 409)

    async def _adopt(self, entry: Entry, started: Started) -> None:
        entry.confined, entry.group = started.confined, started.group
        entry.confined.ended.add_done_callback(lambda _: self._noticed_end(entry))
        entry.record.processes = started.processes
        entry.relay = Relay(started.socket_path)
        entry.port = await entry.relay.start()

    async def _put_down(self, entry: Entry) -> None:
        """End the processes and the relay; record and files stay."""
        confined, entry.confined = entry.confined, None
        await self._ways_out.close(entry.record)
        relay, entry.relay, entry.port = entry.relay, None, 0
        if relay is not None:
            await relay.close()
        if confined is not None:
            await confined.kill(entry.group)
        group, entry.group = entry.group, None
        await asyncio.to_thread(self._workshop.clear_away, entry.record, group)

    async def _remove(self, entry: Entry) -> None:
        self._expiry.forget(entry)
        await self._put_down(entry)
        await asyncio.to_thread(self._workshop.remove, entry.record)
        self._records.remove(entry.record.id)
        self._entries.pop(entry.record.id, None)
        if entry.record.volumes:
            used = {v.claim for other in self._entries.values() for v in other.record.volumes}
            await asyncio.to_thread(self._workshop.drop_volumes, entry.record, used)

    def _noticed_end(self, entry: Entry) -> None:
        """The processes are gone. If nobody here ended them, say so."""
        if entry.confined is not None and not self._is_closing:
            self._errands.send(self._fail(entry, entry.confined))

    async def _fail(self, entry: Entry, confined: Confined) -> None:
        async with entry.lock:
            if entry.confined is not confined:
                return
            reason, why = entry.ending(confined)
            await self._put_down(entry)
            self._say(entry, "Failed", reason, why)
            _LOG.warning("%s failed: %s", entry.record.id, why)

    def _say(self, entry: Entry, state: str, reason: str, message: str) -> None:
        self._records.say(entry.record, wall(), state, reason, message)

    def _is_ours(self, port: int) -> bool:
        return port == self.server_port or any(e.port == port for e in self._entries.values())
