"""``/v1/filesystem/{uid}/{gid}``: files as one user sees them. A sandbox has one user, its own."""

from __future__ import annotations

import os

from starlette.routing import Mount, Router
from starlette.types import Receive, Scope, Send

from opensandbox_jupyter.execd import directories, files, uploads
from opensandbox_jupyter.execd.errors import Refusal

__all__ = ["ROUTES"]

_router = Router([*files.ROUTES, *directories.ROUTES, *uploads.ROUTES], redirect_slashes=False)


async def _as_user(scope: Scope, receive: Receive, send: Send) -> None:
    asked = tuple(scope["path_params"][name] for name in ("uid", "gid"))
    own = (os.geteuid(), os.getegid())
    if asked != own:
        message = (
            f"This sandbox maps one user only, uid {own[0]} and gid {own[1]}:"
            " no file can be used as another."
        )
        raise Refusal(501, "NOT_SUPPORTED", message)
    await _router(scope, receive, send)


ROUTES = [Mount("/v1/filesystem/{uid:int}/{gid:int}", app=_as_user)]
