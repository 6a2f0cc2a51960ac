"""Runs the server: its lock, its records, its socket, its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvicorn

from opensandbox_jupyter import __version__
from opensandbox_jupyter.exceptions import IsolationUnavailableException, LocalServerException
from opensandbox_jupyter.hosting.heads import HEAD_BYTES
from opensandbox_jupyter.hosting.tunnels import door
from opensandbox_jupyter.runtime_file import Places, RuntimeFile, private_directory, proof
from opensandbox_jupyter.server import probe
from opensandbox_jupyter.server.app import Policy, make_app
from opensandbox_jupyter.server.diagnostics import diagnostics_routes
from opensandbox_jupyter.server.disk import DiskWatch
from opensandbox_jupyter.server.image_store import ImageStore
from opensandbox_jupyter.server.journal import keep_small
from opensandbox_jupyter.server.library import Library
from opensandbox_jupyter.server.lifecycle import routes
from opensandbox_jupyter.server.locks import lock
from opensandbox_jupyter.server.proxy import ServerProxy
from opensandbox_jupyter.server.records import Records
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.snapshot_calls import snapshot_routes
from opensandbox_jupyter.server.snapshots import Snapshots
from opensandbox_jupyter.server.template_calls import template_routes
from opensandbox_jupyter.server.templates import Templates
from opensandbox_jupyter.server.trash import Trash
from opensandbox_jupyter.server.volumes import Volumes
from opensandbox_jupyter.server.workshop import Workshop

__all__ = ["Options", "serve"]

_LOG = logging.getLogger(__name__)
_TRASH_PATIENCE = 5.0


@dataclass(frozen=True)
class Options:
    """How to serve. ``idle_seconds`` is how long a server without sandboxes stays, or ``None``."""

    places: Places
    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = field(default=None, repr=False)
    idle_seconds: float | None = None
    spares: int = 0
    """How many ready sandboxes to keep, so that a create is a claim."""
    host_paths: tuple[Path, ...] = ()
    """Directories of the host that sandboxes may be lent, and all below them."""
    must_isolate: bool = False
    """Refuse to start where no sandbox could be isolated."""


def serve(options: Options) -> None:
    """Serve until told to stop, or until idle for long enough. Blocks.

    Raises:
        LocalServerException: it cannot be started.
        IsolationUnavailableException: this host cannot isolate a sandbox.
    """
    if not _is_loopback(options.host):
        raise LocalServerException(
            f"The server only listens on loopback, not on {options.host}.",
            hint="Use --host 127.0.0.1, and an SSH tunnel to reach it from elsewhere.",
        )
    if options.must_isolate:
        reason = probe.why_not()
        if reason is not None:
            raise IsolationUnavailableException(
                reason, hint="`opensandbox-jupyter doctor` checks this host again."
            )
    _raise_descriptor_limit()
    private_directory(options.places.run)
    private_directory(options.places.data)
    with lock(options.places.run / "server.lock"), lock(options.places.data / "server.lock"):
        asyncio.run(_Serving(options).run())


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which end the process before it has cleaned up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        self.should_exit = True


class _Serving:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._nonce = secrets.token_hex(16)
        self._policy = Policy(options.api_key or secrets.token_urlsafe(32), host=options.host)
        self._touched = time.monotonic()
        self._trash = trash = Trash(options.places.data)
        volumes = Volumes(options.places.data, trash, options.host_paths)
        library = Library(options.places.cache)
        workshop = Workshop(options.places.data, options.places.run, volumes, library, trash)
        records = Records(options.places.data / "records.sqlite")
        self._snapshots = Snapshots(records, options.places.data, trash)
        images = ImageStore(options.places.data)
        self._sandboxes = Sandboxes(records, workshop, self._snapshots, images, options.spares)
        self._layer = workshop.layer
        self._templates = Templates(records, self._sandboxes, self._snapshots)

    async def run(self) -> None:
        policy, options = self._policy, self._options
        proxy, templates = ServerProxy(self._sandboxes), self._templates
        more = [
            *diagnostics_routes(self._sandboxes),
            *snapshot_routes(self._sandboxes, self._snapshots),
            *template_routes(templates),
            *proxy.routes(),
        ]
        app = make_app(
            routes(
                self._sandboxes,
                templates,
                policy.signing,
                more,
                lambda challenge: proof(policy.api_key, self._nonce, challenge),
            ),
            policy,
            self._touch,
        )
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=door(partial(proxy.lead, app.admit)),
            ws=asyncio.Protocol,  # any: the door answers for itself
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, server.end)
        with _bind(options.host, options.port) as listener:
            policy.port = self._sandboxes.server_port = listener.getsockname()[1]
            try:
                await asyncio.to_thread(self._trash.empty)
                await self._sandboxes.recover()
                await templates.recover()
                await self._announce(server, listener)
            finally:
                await templates.close()
                await self._sandboxes.close()
                await asyncio.to_thread(self._trash.close, _TRASH_PATIENCE)

    async def _announce(self, server: uvicorn.Server, listener: socket.socket) -> None:
        path = self._options.places.runtime_file
        host = f"[{self._policy.host}]" if ":" in self._policy.host else self._policy.host
        url = f"http://{host}:{self._policy.port}"
        listener.listen(512)
        RuntimeFile(url, os.getpid(), __version__, self._nonce, self._policy.api_key).write(path)
        print(f"OpenSandbox for this user listens on {url}; its key is in {path}", flush=True)
        watch = asyncio.gather(
            self._watch_idleness(server),
            keep_small(self._options.places.server_log),
            DiskWatch(self._options.places.data, self._sandboxes, self._layer).run(),
        )
        try:
            await server.serve(sockets=[listener])
        finally:
            path.unlink(missing_ok=True)
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    async def _watch_idleness(self, server: uvicorn.Server) -> None:
        limit = self._options.idle_seconds
        while limit is not None:
            await asyncio.sleep(min(limit, 5.0) / 2)
            if not self._sandboxes.is_idle:
                self._touch()
            elif time.monotonic() - self._touched > limit:
                _LOG.info("nothing to do for %.0f s, so the server ends", limit)
                server.should_exit = True
                return

    def _touch(self) -> None:
        self._touched = time.monotonic()


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise LocalServerException(
            f"The server cannot listen on {host}:{port}: {error.strerror}.",
            cause=error,
            hint="Give another --port.",
        ) from error
    listener.setblocking(False)
    return listener


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
