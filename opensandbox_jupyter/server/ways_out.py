"""The ways out of all sandboxes: for each one a proxy that listens on a unix socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from opensandbox_jupyter.egress.judge import Judge, resolve
from opensandbox_jupyter.egress.policy import DENY_ALL, NetworkPolicy, load
from opensandbox_jupyter.egress.proxy import Keeper, Proxy
from opensandbox_jupyter.egress.tls import Authority
from opensandbox_jupyter.egress.vault import Vault
from opensandbox_jupyter.server.identity import owner
from opensandbox_jupyter.server.records import Record

__all__ = ["WayOut", "WaysOut", "policy_of"]

_LOG = logging.getLogger(__name__)


def policy_of(record: Record) -> NetworkPolicy:
    """Return a sandbox's policy; one that cannot be read denies all."""
    try:
        return load(record.network_policy)
    except Exception as error:
        _LOG.error("the network policy of %s denies all, for it is broken: %s", record.id, error)
        return DENY_ALL


def _upstream() -> ssl.SSLContext:
    """Return how servers outside are spoken to when the proxy itself speaks TLS."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class WayOut:
    """One sandbox's proxy, and a flag that tells execd whether it leads anywhere."""

    def __init__(self, path: str, proxy: Proxy) -> None:
        self.keeper = proxy.keeper
        """What it has of credentials, if it was made for them."""
        self._path = path
        self._proxy = proxy
        self._flag = os.memfd_create("way-out")

    async def open(self, uid: int) -> None:
        """Begin to listen, for a sandbox that is ``uid`` outside."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        await self._proxy.start(self._path)
        os.chmod(self._path, 0o600)
        owner(Path(self._path), uid)

    def apply(self, policy: NetworkPolicy) -> None:
        """Let ``policy`` hold from now on."""
        self._proxy.policy = policy
        os.pwrite(self._flag, b"1" if policy.may_reach_anything else b"0", 0)

    def descriptors(self) -> dict[str, int]:
        """Return new descriptors for execd, of which nothing can be read but the flag."""
        door = os.open(self._path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            flag = os.open(f"/proc/self/fd/{self._flag}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(door)
            raise
        return {"door": door, "flag": flag}

    async def close(self) -> None:
        """Cut every connection. The socket's file is removed with the others of the sandbox."""
        os.close(self._flag)
        await self._proxy.close()


class WaysOut:
    """All of them. ``is_ours`` says whether a port of this machine is the server's own."""

    def __init__(self, is_ours: Callable[[int], bool]) -> None:
        self._is_ours = is_ours
        self._open: dict[str, WayOut] = {}

    async def open(self, record: Record, path: str) -> WayOut:
        """Open a sandbox's way out, before its processes start. Raises: OSError."""
        keeper = None
        if record.keeps_credentials:
            authority = await asyncio.to_thread(Authority)
            keeper = Keeper(Vault(), authority, await asyncio.to_thread(_upstream))
        proxy = Proxy(Judge(resolve, self._is_ours), keeper=keeper)
        way_out = self._open[record.id] = WayOut(path, proxy)
        await way_out.open(record.outer_uid)
        way_out.apply(policy_of(record))
        return way_out

    def vault(self, record: Record) -> Vault | None:
        """Return a sandbox's vault, if it was made for one."""
        way_out = self._open.get(record.id)
        return None if way_out is None or way_out.keeper is None else way_out.keeper.vault

    def apply(self, record: Record) -> None:
        """Let the policy in ``record`` hold from now on, where there is a way out."""
        way_out = self._open.get(record.id)
        if way_out is not None:
            way_out.apply(policy_of(record))

    async def close(self, record: Record) -> None:
        """Close a sandbox's way out; one that is not open is no error."""
        way_out = self._open.pop(record.id, None)
        if way_out is not None:
            await way_out.close()
