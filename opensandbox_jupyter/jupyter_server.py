"""The Jupyter server extension: what a page may ask the Jupyter server about OpenSandbox.

So far one question, ``GET {base_url}opensandbox/api/status``, answered to those whom the Jupyter
server knows. Keys stay on this side.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from opensandbox_jupyter import __version__
from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.manager import SandboxManager
from opensandbox_jupyter.models.sandboxes import SandboxFilter
from opensandbox_jupyter.settings import Settings, Target
from opensandbox_jupyter.transport.aio import AsyncTransport

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

    from opensandbox_jupyter.local import LocalServer

__all__ = ["StatusHandler"]


class StatusHandler(APIHandler):
    """Tells this package's version and how the embedded server of this user is."""

    auth_resource = "opensandbox"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer ``{"version", "server": {"running", "version", "sandboxes", "problem"}}``.

        Looking starts no server. What is not known is ``null``; ``problem`` is a sentence.
        """
        self.finish(json.dumps({"version": __version__, "server": await _server_status()}))


async def _server_status() -> dict[str, Any]:
    from opensandbox_jupyter.local import find_server

    status: dict[str, Any] = dict.fromkeys(("running", "version", "sandboxes", "problem"))
    try:
        server = await asyncio.to_thread(find_server)
        status["running"] = server is not None
        if server is not None:
            status["version"] = server.version
            status["sandboxes"] = await _count_sandboxes(server)
    except SandboxException as error:
        status["problem"] = error.message
    return status


async def _count_sandboxes(server: LocalServer) -> int:
    settings = Settings.resolve()
    target = Target(f"{server.url.rstrip('/')}/v1", server.api_key)
    connection = Connection(settings, target, AsyncTransport(settings, embedded=True))
    async with SandboxManager(connection) as manager:
        page = await manager.list_sandbox_infos(SandboxFilter(page_size=1))
        return page.pagination.total_items


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    path = url_path_join(app.base_url, "opensandbox", "api", "status")
    rules = [(path, StatusHandler)]
    app.web_app.add_handlers(".*$", rules)  # type: ignore[no-untyped-call,unused-ignore]
