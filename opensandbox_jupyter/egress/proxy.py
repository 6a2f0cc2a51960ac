"""The HTTP proxy of one sandbox: listens on a unix socket, and holds the sandbox's policy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from opensandbox_jupyter.egress.addresses import Address
from opensandbox_jupyter.egress.connection import BUFFER, Connection, refusal
from opensandbox_jupyter.egress.judge import Judge, Refused
from opensandbox_jupyter.egress.policy import DENY_ALL, Destination, NetworkPolicy
from opensandbox_jupyter.egress.tls import Authority
from opensandbox_jupyter.egress.vault import Vault

__all__ = ["Keeper", "Proxy"]

_LOG = logging.getLogger(__name__)
MOST_CONNECTIONS = 256
_DIAL_SECONDS = 10.0
_LAST_WORDS_SECONDS = 1.0


@dataclass(frozen=True)
class Keeper:
    """What a sandbox with credentials has: its vault, and whom it trusts for their hosts.

    ``upstream`` is how the servers outside are spoken to, and so by whom they must be certified.
    """

    vault: Vault
    authority: Authority
    upstream: ssl.SSLContext


@dataclass(eq=False)
class Flow:
    """A connection to the outside that is open, and where it leads."""

    destination: Destination
    address: Address
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    client: asyncio.StreamWriter

    def abort(self) -> None:
        """Cut both ends at once."""
        self.writer.transport.abort()
        self.client.transport.abort()


class Proxy:
    """Lets a sandbox reach what its policy allows."""

    def __init__(
        self,
        judge: Judge,
        policy: NetworkPolicy = DENY_ALL,
        keeper: Keeper | None = None,
    ) -> None:
        self.keeper = keeper
        self._judge = judge
        self._policy = policy
        self._flows: set[Flow] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def policy(self) -> NetworkPolicy:
        """What is allowed now."""
        return self._policy

    @policy.setter
    def policy(self, policy: NetworkPolicy) -> None:
        """Judge by ``policy`` from now on, and cut what is open and not allowed any more."""
        self._policy = policy
        for flow in list(self._flows):
            try:
                self._judge.check(policy, flow.destination, [flow.address])
            except Exception:  # denied, or not to be judged, which is the same
                flow.abort()

    async def start(self, path: str) -> None:
        """Begin to listen on a unix stream socket at ``path``."""
        self._server = await asyncio.start_unix_server(
            self._accept, path, limit=BUFFER, backlog=256
        )

    async def check(self, destination: Destination) -> None:
        """Make sure that ``destination`` is allowed now. Raises: Refused."""
        await self._judge.addresses(self._policy, destination)

    async def open(
        self,
        destination: Destination,
        client: asyncio.StreamWriter,
        tls: ssl.SSLContext | None = None,
    ) -> Flow:
        """Connect to ``destination`` for ``client``, by TLS if that is given.

        Raises:
            Refused: it is not allowed, or does not answer.
        """
        addresses = await self._judge.addresses(self._policy, destination)
        address, reader, writer = await _dial(destination, addresses, tls)
        try:
            # The policy may have changed meanwhile.
            self._judge.check(self._policy, destination, [address])
        except Refused:
            writer.transport.abort()
            raise
        flow = Flow(destination, address, reader, writer, client)
        self._flows.add(flow)
        return flow

    def done(self, flow: Flow) -> None:
        """Hang up; called by the connection."""
        self._flows.discard(flow)
        flow.writer.transport.abort()

    async def close(self) -> None:
        """Stop listening and cut everything."""
        if self._server is not None:
            self._server.close()
        for flow in list(self._flows):
            flow.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS:
            sentence = f"The sandbox has {MOST_CONNECTIONS} connections to the outside already."
            writer.write(refusal(Refused(503, sentence)))
            asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, writer.transport.abort)
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await Connection(self, reader, writer).run()
        except (OSError, asyncio.TimeoutError, TimeoutError):
            pass  # somebody hung up, or said nothing for too long
        except Exception:
            _LOG.exception("the way out of a sandbox failed")
        finally:
            writer.transport.abort()


async def _dial(
    destination: Destination, addresses: Sequence[Address], tls: ssl.SSLContext | None
) -> tuple[Address, asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that answers; nothing is looked up any more."""
    status, why = 502, "nothing answers there"
    for address in addresses[:4]:
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(
                    str(address),
                    destination.port,
                    limit=BUFFER,
                    ssl=tls,
                    server_hostname=None if tls is None else str(destination.host),
                ),
                _DIAL_SECONDS,
            )
        except ssl.SSLCertVerificationError as error:
            status, why = 502, f"its certificate is not trusted: {error.verify_message}"
        except (asyncio.TimeoutError, TimeoutError):
            status, why = 504, "nothing answered in time"
        except OSError as error:
            status, why = 502, (error.strerror or why).lower()
        else:
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return address, reader, writer
    raise Refused(status, f"{destination.host}:{destination.port} could not be reached: {why}.")
