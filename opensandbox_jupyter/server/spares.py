"""Ready sandboxes that are nobody's yet, so that a create is a claim.

A spare has its final id, token and uid. It is in no list and keeps no server awake. Its record,
in the state ``Spare``, only tells the next server what to remove. It has no network policy, so its
way out is there but leads nowhere until somebody's policy is put on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.identity import outer_uid
from opensandbox_jupyter.server.images import Image, find_image
from opensandbox_jupyter.server.records import Record, Records

if TYPE_CHECKING:
    from opensandbox_jupyter.server.cgroups import Group
    from opensandbox_jupyter.server.ways_out import WaysOut
    from opensandbox_jupyter.server.workshop import Started, Workshop

__all__ = ["Spare", "Spares"]

_LOG = logging.getLogger(__name__)
_IMAGE = "python"
_QUIET_SECONDS = 1.0
"""How long no sandbox must have been made before the next spare is: a start costs a core."""


@dataclass(frozen=True)
class Spare:
    """One ready sandbox."""

    record: Record
    started: Started

    def name(self, record: Record) -> None:
        """Let ``record`` be the one of this sandbox."""
        record.id, record.token = self.record.id, self.record.token
        record.outer_uid = self.record.outer_uid


class Spares:
    """Keeps ``number`` spares. ``taken`` returns the uids of the sandboxes that are somebody's."""

    def __init__(
        self,
        number: int,
        records: Records,
        workshop: Workshop,
        ways_out: WaysOut,
        taken: Callable[[], Collection[int]],
    ) -> None:
        self._number = number
        self._records = records
        self._workshop = workshop
        self._ways_out = ways_out
        self._taken = taken
        self._ready: list[Spare] = []
        self._making: Record | None = None
        self._maker: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._waiting = 0

    @property
    def uids(self) -> set[int]:
        """The uids that spares have."""
        making = [self._making] if self._making is not None else []
        return {record.outer_uid for record in (*making, *(s.record for s in self._ready))}

    async def take(self, image: Image) -> Spare | None:
        """Return a spare for ``image``, also one that is just being made, or ``None``."""
        mine = find_image(_IMAGE) if self._number else None
        if mine is None or (mine.interpreter, mine.version) != (image.interpreter, image.version):
            return None
        if not self._ready and self._making is not None and not self._waiting:
            self._waiting += 1
            try:
                await self._news.wait()
            finally:
                self._waiting -= 1
        while self._ready:
            spare = self._ready.pop(0)
            if not spare.started.confined.ended.done():
                return spare
            await self._discard(spare)
        return None

    def refill(self, after: float = _QUIET_SECONDS) -> None:
        """Make what is missing once nothing has happened for ``after`` seconds."""
        if self._timer is not None:
            self._timer.cancel()
        if len(self._ready) < self._number:
            self._timer = asyncio.get_running_loop().call_later(after, self._begin)

    async def close(self) -> None:
        """End and remove every spare."""
        self._number = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._maker is not None:
            self._maker.cancel()
            await asyncio.gather(self._maker, return_exceptions=True)
        ready, self._ready = self._ready, []
        await asyncio.gather(*(self._discard(spare) for spare in ready))

    def _begin(self) -> None:
        if self._maker is None or self._maker.done():
            self._maker = asyncio.get_running_loop().create_task(self._make_all())

    async def _make_all(self) -> None:
        while len(self._ready) < self._number:
            try:
                self._ready.append(await self._make())
            except (Refusal, LookupError, OSError) as error:
                _LOG.warning("no spare sandbox could be made: %s", error)
                return
            finally:
                self._making = None
                self._news.set()

    async def _make(self) -> Spare:
        image = find_image(_IMAGE)
        self._workshop.check()
        record = Record(
            id=str(uuid.uuid4()),
            image=_IMAGE,
            entrypoint=[],
            created=wall(),
            token=secrets.token_hex(32),
            outer_uid=outer_uid(set(self._taken()) | self.uids),
            state="Spare",
        )
        self._making = record
        self._news.clear()
        try:
            self._records.save(record)
            await asyncio.to_thread(self._workshop.build, record, image)
            way_out = await self._ways_out.open(record, self._workshop.way_out_path(record))
            started = await self._workshop.start(record, way_out, waits=True)
        except BaseException:
            await asyncio.shield(self._forget(record))
            raise
        record.processes = started.processes
        self._records.save(record)
        spare = Spare(record, started)
        started.confined.ended.add_done_callback(lambda _: self._noticed_end(spare))
        return spare

    def _noticed_end(self, spare: Spare) -> None:
        with contextlib.suppress(ValueError):
            self._ready.remove(spare)
            _LOG.warning("a spare sandbox ended: %s", spare.started.confined.tail)
            self._removal = asyncio.get_running_loop().create_task(self._discard(spare))

    async def _discard(self, spare: Spare) -> None:
        started = spare.started
        await started.confined.kill(started.group)
        await self._forget(spare.record, started.group)

    async def _forget(self, record: Record, group: Group | None = None) -> None:
        await self._ways_out.close(record)
        await asyncio.to_thread(self._workshop.clear_away, record, group)
        await asyncio.to_thread(self._workshop.remove, record)
        self._records.remove(record.id)
