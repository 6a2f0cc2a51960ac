"""``/directories``: list, make, and remove whole trees."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opensandbox_jupyter.execd.entries import Describer, Ownership, apply, json_array
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.requests import absolute, integer, paths_of, read_json
from opensandbox_jupyter.execd.walk import walk
from opensandbox_jupyter.hosting.removal import remove_tree

__all__ = ["ROUTES"]


def _list(request: Request) -> Response:
    root = absolute(request, request.query_params.get("path", ""))
    depth = integer(request, "depth", 0)
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        raise Refusal(400, "INVALID_FILE", f"{root} is not a directory.")
    os.scandir(root).close()
    return json_array(_entries(root, 1 if depth is None else depth))


def _entries(root: str, depth: int) -> Iterator[dict[str, object]]:
    describer = Describer()
    for path, info in walk(root, depth):
        yield describer.describe(path, info)


async def _make(request: Request) -> Response:
    wanted = await read_json(request, dict[str, Ownership])
    made = [(absolute(request, path), ownership) for path, ownership in wanted.items()]

    def make() -> None:
        for path, ownership in made:
            ownership.bits(), ownership.ids()
            existed = os.path.isdir(path)
            os.makedirs(path, exist_ok=True)
            if not existed:
                apply(path, ownership)

    await run_in_threadpool(make)
    return Response()


def _delete(request: Request) -> Response:
    for path in paths_of(request).values():
        remove_tree(path)
    return Response()


ROUTES = [
    Route("/directories/list", _list),
    Route("/directories", _make, methods=["POST"]),
    Route("/directories", _delete, methods=["DELETE"]),
]
