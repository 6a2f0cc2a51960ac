"""Boot: harden this process, read the settings, start the entrypoint, serve."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from functools import partial

import uvicorn

from opensandbox_jupyter.execd.app import make_app
from opensandbox_jupyter.execd.broker import Broker, start_broker
from opensandbox_jupyter.execd.commands import start_entrypoint
from opensandbox_jupyter.execd.contexts import Contexts
from opensandbox_jupyter.execd.enclosures import Enclosures
from opensandbox_jupyter.execd.environment import command_env
from opensandbox_jupyter.execd.executions import Book
from opensandbox_jupyter.execd.pty import Terminals
from opensandbox_jupyter.execd.reaper import reap_orphans
from opensandbox_jupyter.execd.sessions import Sessions
from opensandbox_jupyter.execd.settings import Settings, read_settings
from opensandbox_jupyter.execd.tunnels import lead, own_socket
from opensandbox_jupyter.execd.way_out import base_env, open_way_out
from opensandbox_jupyter.hosting.tunnels import door

__all__ = ["main"]

_PR_SET_DUMPABLE = 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_ALIVE = 120
_MOST_MESSAGE = 1024 * 1024


def main(arguments: list[str] | None = None) -> None:
    """Run execd with the settings in the descriptor that ``--config-fd`` names."""
    _harden()
    _keep_blocks()
    parser = argparse.ArgumentParser(prog="execd", description=__doc__)
    parser.add_argument("--config-fd", type=int, required=True)
    settings = read_settings(parser.parse_args(arguments).config_fd)
    broker = None if settings.nesting is None else start_broker(settings.nesting)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="execd: %(message)s")
    asyncio.run(_serve(settings, broker))


def _harden() -> None:
    """Let nothing of this process be read or inherited by what runs beside it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "execd cannot make itself unreadable")
    os.environ.clear()
    os.umask(0o022)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor of the listing itself


def _keep_blocks() -> None:
    """Let the allocator keep blocks of the size that streams use, not ask for each anew.

    Uploads are twice as fast for it. Where the C library has no such setting, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 8 * 1024 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 16 * 1024 * 1024)


async def _serve(settings: Settings, broker: Broker | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after serving, when there is still something to clean up.
        signal.signal(number, lambda *_: None)
    way_out = await open_way_out(settings)
    book, sessions, terminals = Book(settings.state_dir), Sessions(), Terminals()
    enclosures = Enclosures(settings, broker)
    contexts = Contexts(lambda: command_env(base_env(settings), settings.env_file, None))
    guard = make_app(settings, book, sessions, terminals, enclosures, contexts)
    await contexts.listen()
    if not settings.waits:
        start_entrypoint(settings, book)
    config = uvicorn.Config(
        guard,
        http=door(partial(lead, guard.refusal)),
        ws=own_socket,  # type: ignore[arg-type]
        ws_max_size=_MOST_MESSAGE,
        ws_ping_interval=30,
        ws_ping_timeout=30,
        ws_per_message_deflate=False,
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )
    with socket.socket(fileno=settings.listen_fd) as listener:
        listener.setblocking(False)
        try:
            with reap_orphans():
                await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            closing = [room.close() for room in (book, sessions, terminals, enclosures, contexts)]
            if way_out is not None:
                closing.append(way_out.close())
            await asyncio.gather(*closing, return_exceptions=True)


if __name__ == "__main__":
    main()
