"""Decides where a request may go, on the very addresses that will be dialled."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

from opensandbox_jupyter.egress.addresses import Address, is_public, parse_address, plain
from opensandbox_jupyter.egress.names import shown
from opensandbox_jupyter.egress.policy import Destination, NetworkPolicy

__all__ = ["Judge", "Refused", "Resolve", "resolve"]

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
IsOurs = Callable[[int], bool]
_LOOKUPS_AT_ONCE = 4
_LOOKUP_SECONDS = 15.0
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="egress-names")
"""Not the loop's own threads: names of which the answer never comes must not stop anything else."""


class Refused(Exception):
    """A request that goes nowhere: an HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


async def resolve(name: str) -> list[Address]:
    """Ask the host's resolver. Raises: OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        _THREADS, lambda: socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    )
    texts = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [address for text in texts if (address := parse_address(text)) is not None]


class Judge:
    """One sandbox's judge.

    Args:
        look_up: turns a name into addresses.
        is_ours: whether a port of this machine is the server's own; none of those is ever opened.
    """

    def __init__(self, look_up: Resolve, is_ours: IsOurs) -> None:
        self._look_up = look_up
        self._is_ours = is_ours
        self._lookups = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def addresses(self, policy: NetworkPolicy, destination: Destination) -> Sequence[Address]:
        """Return the addresses to dial, in this order, every one of which is allowed.

        Raises:
            Refused: the policy forbids it, or there is no such host.
        """
        if not policy.could_allow(destination):
            raise _denied(destination)
        try:
            found = await self._resolved(destination.host)
        except Refused as error:
            if policy.allows_name(destination):
                raise
            raise _denied(destination) from error
        self.check(policy, destination, found)
        return found

    def check(
        self, policy: NetworkPolicy, destination: Destination, found: Sequence[Address]
    ) -> None:
        """Make sure that every address in ``found`` is allowed. Raises: Refused 403."""
        local = _local_addresses()
        for address in found:
            here = plain(address).is_loopback or plain(address) in local
            if here and self._is_ours(destination.port):
                raise Refused(403, f"{_place(destination)} belongs to the server itself.")
            if here and not policy.names_address(destination, plain(address)):
                raise _denied(destination, address)
            if not policy.allows(destination, address):
                raise _denied(destination, address)

    async def _resolved(self, host: str | Address) -> Sequence[Address]:
        if not isinstance(host, str):
            return [host]
        try:
            async with self._lookups:
                found = await asyncio.wait_for(self._look_up(host), _LOOKUP_SECONDS)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise Refused(504, f"The address of {host} could not be found in time.") from error
        except (OSError, UnicodeError) as error:
            raise Refused(502, f"The address of {host} could not be found.") from error
        if not found:
            raise Refused(502, f"{host} has no address.")
        return [plain(address) for address in found]


def _local_addresses() -> set[Address]:
    texts = (entry.address for entries in psutil.net_if_addrs().values() for entry in entries)
    found = (parse_address(text.partition("%")[0]) for text in texts)
    return {plain(address) for address in found if address is not None}


def _place(destination: Destination) -> str:
    return f"{shown(destination.host)}:{destination.port}"


def _denied(destination: Destination, address: Address | None = None) -> Refused:
    """Say what is denied and which rule would allow it."""
    host = shown(destination.host)
    is_usual = destination.port == destination.usual_port
    target = host if is_usual else _place(destination)
    why = "the sandbox's network policy does not allow it"
    if address is not None and isinstance(destination.host, str) and not is_public(address):
        why = "its address is not public"
        target = "ITS-ADDRESS" if is_usual else f"ITS-ADDRESS:{destination.port}"
    rule = json.dumps({"action": "allow", "target": target})
    return Refused(403, f"{_place(destination)} is denied: {why}. The rule {rule} would allow it.")
