"""One sandbox while the server runs: its record, its processes, and the way to them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.records import Record

if TYPE_CHECKING:
    from opensandbox_jupyter.hosting.relay import Relay
    from opensandbox_jupyter.server.cgroups import Group
    from opensandbox_jupyter.server.process import Confined

__all__ = ["Entry"]


@dataclass
class Entry:
    """What is known of one sandbox. Without ``confined`` it has no processes."""

    record: Record
    confined: Confined | None = None
    relay: Relay | None = None
    port: int = 0
    group: Group | None = None
    timer: asyncio.TimerHandle | None = None
    deadline: float | None = None
    is_unwanted: bool = False
    """Whether it was deleted before it was there."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def last_words(self) -> str:
        """The end of what execd itself wrote."""
        return self.confined.tail if self.confined else self.record.last_words

    @property
    def out_of_memory_kills(self) -> int:
        """How many processes the kernel ended because the sandbox was full."""
        return 0 if self.group is None else self.group.out_of_memory_kills()

    def way_in(self) -> tuple[str, str]:
        """Return the socket of a running sandbox's execd, and its token. Raises: Refusal 409."""
        if self.relay is None or not self.relay.is_open:
            raise Refusal(
                409,
                "DOCKER::SANDBOX_NOT_RUNNING",
                f"The sandbox is {self.record.state}: {self.record.message}",
            )
        return self.relay.socket_path, self.record.token

    def ending(self, confined: Confined) -> tuple[str, str]:
        """Return why the processes ended by themselves: a reason, and a sentence or two."""
        tail = self.record.last_words = confined.tail[-4096:]
        said = f" Its last words: {tail}" if tail else ""
        if self.out_of_memory_kills:
            return "OUT_OF_MEMORY", f"It ran out of memory.{said}"
        return "SANDBOX_ENDED", f"Its processes ended with code {confined.ended.result()}.{said}"

    def open_way_in(self, is_open: bool) -> None:
        """Let clients in, or refuse them."""
        if self.relay is not None:
            self.relay.is_open = is_open

    def freeze(self) -> bool:
        """Stop every process. Return whether all of them stand still. Blocks."""
        if self.confined is None:
            return False
        if self.group is not None and self.group.can_freeze:
            return self.group.freeze()
        return self.confined.stop_all()

    def thaw(self) -> None:
        """Let every process go on. Blocks."""
        if self.group is not None and self.group.can_freeze:
            self.group.thaw()
        elif self.confined is not None:
            self.confined.continue_all()
