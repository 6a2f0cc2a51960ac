"""Verbs on sandboxes: each parses nothing, makes one call, and shows one result."""

from __future__ import annotations

import argparse
import shlex
from datetime import timedelta
from typing import TYPE_CHECKING

from opensandbox_jupyter.constants import DEFAULT_EXECD_PORT
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException
from opensandbox_jupyter.magics.cards import expiry, facts, show_card, show_lines, show_table
from opensandbox_jupyter.magics.options import read_env_file
from opensandbox_jupyter.magics.session import NAME_TAG, Held

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.session import Session
    from opensandbox_jupyter.models.sandboxes import PagedSandboxInfos, SandboxFilter
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = [
    "connect",
    "count",
    "create",
    "info",
    "kill",
    "list_all",
    "pause",
    "renew",
    "resume",
    "use",
]

_LIFETIME = timedelta(minutes=10)


def create(session: Session, options: argparse.Namespace) -> None:
    """``create``: make a sandbox, use it, bind it, show it."""
    from opensandbox_jupyter.sandbox import Sandbox

    _check_variable(options.var)
    name = session.free_name(options.name)
    env = read_env_file(options.env_file) if options.env_file else {}
    resource = {"cpu": options.cpu or "1", "memory": options.memory or "2Gi"}
    sandbox = session.call(
        Sandbox.create(
            options.image,
            timeout=options.timeout or _LIFETIME,
            env={**env, **dict(options.env)},
            metadata={**session.tags(name), **dict(options.meta)},
            resource=resource,
            entrypoint=shlex.split(options.entrypoint) if options.entrypoint else None,
        )
    )
    held = Held(name, sandbox, options.image, created_here=True, keep=options.keep)
    session.add(held)
    _bind(session, held, options.var, is_async=options.is_async)
    _card(session, held, f"Sandbox {name} is ready")


def connect(session: Session, options: argparse.Namespace) -> None:
    """``connect``: take in a sandbox by its id."""
    from opensandbox_jupyter.sandbox import Sandbox

    _check_variable(options.var)
    known = next((h for h in session.held.values() if h.id == options.id), None)
    if known is None:
        name = session.free_name(options.name)
        sandbox = session.call(Sandbox.connect(options.id))
        known = Held(name, sandbox, "", created_here=False)
    session.add(known)
    _bind(session, known, options.var)
    _card(session, known, f"Connected to {known.name}")


def use(session: Session, options: argparse.Namespace) -> None:
    """``use``: make a known sandbox the current one."""
    _check_variable(options.var)
    held = session.find(options.name)
    session.add(held)
    _bind(session, held, options.var)
    show_lines(f"Sandbox {held.name} is the current one.")


def list_all(session: Session, options: argparse.Namespace) -> None:
    """``list``: what the server has; this kernel's own first."""
    from opensandbox_jupyter.models.sandboxes import SandboxFilter

    wanted = SandboxFilter(states=options.state, metadata=dict(options.meta) or None, page_size=100)
    page = session.call(_page(wanted))
    infos = sorted(page.sandbox_infos, key=lambda i: (not session.is_ours(i), i.created_at))
    names = {held.id: held.name for held in session.held.values()}
    current = session.current.id if session.current else None
    rows = [
        (
            "*" if i.id == current else "",
            names.get(i.id) or i.metadata.get(NAME_TAG, ""),
            i.id,
            i.status.state,
            i.image.image if i.image else "",
            expiry(i),
            "this kernel" if session.is_ours(i) else "",
        )
        for i in infos
    ]
    columns = ("", "name", "id", "state", "image", "expires", "made by")
    show_table(columns, rows, "There are no sandboxes. `%sandbox create` makes one.")
    if page.pagination.has_next_page:
        show_lines(f"{page.pagination.total_items} in all; --state and --meta narrow the list.")


def info(session: Session, options: argparse.Namespace) -> None:
    """``info``: show what the server knows about a sandbox."""
    held = session.find(options.name)
    _card(session, held, f"Sandbox {held.name}")


def kill(session: Session, options: argparse.Namespace) -> None:
    """``kill``: end some sandboxes, the current one, or all that this kernel made."""
    if options.all and options.names:
        raise InvalidArgumentException("Give names or --all, not both.")
    if options.all:
        doomed = [held for held in session.held.values() if held.created_here]
    else:
        doomed = [session.find(name) for name in options.names or [None]]
    doomed = list(dict.fromkeys(doomed))
    for held in doomed:
        _kill(session, held)
    names = ", ".join(held.name for held in doomed)
    show_lines(f"Killed {names}." if doomed else "This kernel has made no sandboxes.")


def pause(session: Session, options: argparse.Namespace) -> None:
    """``pause``: freeze a sandbox."""
    held = session.find(options.name)
    session.call(held.sandbox.pause())
    show_lines(f"Sandbox {held.name} is being paused; `%sandbox resume` lets it go on.")


def resume(session: Session, options: argparse.Namespace) -> None:
    """``resume``: let a paused sandbox go on, and use it."""
    from opensandbox_jupyter.sandbox import Sandbox

    held = session.find(options.name)
    fresh = session.call(Sandbox.resume(held.id))
    session.call(held.sandbox.close())
    held.sandbox = fresh
    session.add(held)
    show_lines(f"Sandbox {held.name} goes on.")


def renew(session: Session, options: argparse.Namespace) -> None:
    """``renew``: set a sandbox's end of life."""
    held = session.find(options.on)
    session.call(held.sandbox.renew(options.time))
    _card(session, held, f"Sandbox {held.name} was renewed")


async def count() -> int:
    """Return how many sandboxes the server has."""
    from opensandbox_jupyter.models.sandboxes import SandboxFilter

    return (await _page(SandboxFilter(page_size=1))).pagination.total_items


async def _page(wanted: SandboxFilter) -> PagedSandboxInfos:
    from opensandbox_jupyter.manager import SandboxManager

    async with await SandboxManager.create() as manager:
        return await manager.list_sandbox_infos(wanted)


def _kill(session: Session, held: Held) -> None:
    """End a sandbox; one that is gone already is as good as killed."""
    try:
        session.call(held.sandbox.kill())
    except SandboxApiException as error:
        if error.status_code != 404:
            raise
    session.drop(held)


def _card(session: Session, held: Held, title: str) -> None:
    show_card(title, facts(session.call(held.sandbox.get_info()), held.name))


def _check_variable(name: str) -> None:
    if not name.isidentifier():
        raise InvalidArgumentException(f"{name!r} is not a variable's name.")


def _bind(session: Session, held: Held, variable: str, *, is_async: bool = False) -> None:
    """Give the user a handle of their own: ours belongs to the portal's event loop."""
    from opensandbox_jupyter.sync.sandbox import SandboxSync

    if is_async:
        session.bind(variable, session.call(_twin(held.sandbox)))
    else:
        session.bind(variable, SandboxSync.connect(held.id, skip_health_check=True))


async def _twin(sandbox: Sandbox) -> Sandbox:
    """Return another handle, whose connections no event loop has used yet."""
    from opensandbox_jupyter.connection import Connection

    endpoint = await sandbox.get_endpoint(DEFAULT_EXECD_PORT)
    connection = await Connection.open(sandbox.connection_config)
    return type(sandbox)(sandbox.id, connection, endpoint)
