"""``POST /internal/init``: a daemon that was started ahead of time learns what it is for, once."""

from __future__ import annotations

import resource

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from opensandbox_jupyter.execd.commands import start_entrypoint
from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.hosting.hooks import Hooks

__all__ = ["init"]


class _Claim(msgspec.Struct):
    """The settings that only a claim decides; see :class:`Settings` for what they mean."""

    env: dict[str, str]
    cpu_count: float
    memory_bytes: int | None = None
    entrypoint: list[str] | None = None
    process_memory: int | None = None
    """A limit in bytes for each process, where nothing counts them together."""
    hooks: Hooks | None = None


async def init(request: Request) -> Response:
    """Take the settings over and start the entrypoint. Only a daemon that waits is asked.

    The answer comes when the hook before the entrypoint has ended well; where it fails, nothing
    is started.
    """
    state = request.app.state
    if not state.settings.waits:
        raise Refusal(409, "RUNTIME_ERROR", "This sandbox is already somebody's.")
    try:
        claim = msgspec.json.decode(await request.body(), type=_Claim)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f"The settings are not understood: {error}.") from error
    state.settings = msgspec.structs.replace(
        state.settings,
        env=claim.env,
        cpu_count=claim.cpu_count,
        memory_bytes=claim.memory_bytes,
        entrypoint=claim.entrypoint,
        waits=False,
    )
    if claim.process_memory is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = claim.process_memory
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    hooks = claim.hooks or Hooks()
    if hooks.pre_start is not None:
        await state.hooks.before_start(hooks.pre_start)
    start_entrypoint(state.settings, state.book)
    state.hooks.begin(hooks.periodic or [])
    return Response()
