"""``/files/search``: the files below a directory that a pattern means."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from opensandbox_jupyter.execd.entries import Describer, json_array
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.globs import Glob
from opensandbox_jupyter.execd.requests import absolute
from opensandbox_jupyter.execd.walk import walk

__all__ = ["search"]


def search(request: Request) -> Response:
    """Send what is known of every file that matches, in order."""
    root = absolute(request, request.query_params.get("path", ""))
    if not stat.S_ISDIR(os.stat(root).st_mode):
        raise Refusal(400, "INVALID_FILE", f"{root} is not a directory.")
    return json_array(_matching(root, Glob(request.query_params.get("pattern") or "**")))


def _matching(root: str, glob: Glob) -> Iterator[dict[str, object]]:
    describer = Describer()
    start = len(root.rstrip("/")) + 1
    for path, info in walk(root):
        if stat.S_ISDIR(info.st_mode):
            continue
        if glob.matches(path[start:] if glob.by_path else os.path.basename(path)):
            yield describer.describe(path, info)
