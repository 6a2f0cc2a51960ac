"""``/files``: look at files, delete, move and change them, and replace text in them."""

from __future__ import annotations

import errno
import os
import shutil
import stat

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opensandbox_jupyter.execd.downloads import download
from opensandbox_jupyter.execd.entries import Describer, Ownership, apply
from opensandbox_jupyter.execd.errors import Refusal, bad_request, from_os_error
from opensandbox_jupyter.execd.requests import absolute, boolean, paths_of, read_json
from opensandbox_jupyter.execd.search import search
from opensandbox_jupyter.execd.targets import Target

__all__ = ["ROUTES"]

_REPLACE_LIMIT = 256 * 1024 * 1024


class Move(msgspec.Struct):
    """One file to move."""

    src: str
    dest: str


class Replacement(msgspec.Struct):
    """All of ``old`` becomes ``new``."""

    old: str
    new: str


def _info(request: Request) -> Response:
    describer = Describer()
    found = {}
    for asked, path in paths_of(request).items():
        try:
            found[asked] = describer.describe(path, os.lstat(path))
        except OSError as exc:
            raise from_os_error(exc, asked) from None
    return Response(msgspec.json.encode(found), media_type="application/json")


def _delete(request: Request) -> Response:
    for path in paths_of(request).values():
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                raise Refusal(400, "INVALID_FILE", f"{path} is a directory.")
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return Response()


async def _permissions(request: Request) -> Response:
    wanted = await read_json(request, dict[str, Ownership])
    changes = [(absolute(request, path), ownership) for path, ownership in wanted.items()]

    def change() -> None:
        for path, ownership in changes:
            apply(path, ownership)

    await run_in_threadpool(change)
    return Response()


async def _move(request: Request) -> Response:
    moves = await read_json(request, list[Move])
    pairs = [(absolute(request, move.src), absolute(request, move.dest)) for move in moves]

    def move() -> None:
        for src, dest in pairs:
            _move_one(src, dest)

    await run_in_threadpool(move)
    return Response()


def _move_one(src: str, dest: str) -> None:
    os.lstat(src)
    if os.path.lexists(dest):
        raise Refusal(400, "INVALID_FILE", f"{dest} exists already.")
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    try:
        os.rename(src, dest)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        shutil.move(src, dest)


async def _replace(request: Request) -> Response:
    wanted = await read_json(request, dict[str, Replacement])
    for path, replacement in wanted.items():
        if not replacement.old:
            raise bad_request(f"{path}: the text to replace is empty.")
    paths = {asked: absolute(request, asked) for asked in wanted}

    def replace() -> dict[str, dict[str, int]]:
        return {
            asked: {"replacedCount": _replace_one(paths[asked], item)}
            for asked, item in wanted.items()
        }

    counts = await run_in_threadpool(replace)
    told = counts if boolean(request, "verbose") else {}
    return Response(msgspec.json.encode(told), media_type="application/json")


def _replace_one(path: str, wanted: Replacement) -> int:
    """Replace in one file, all or nothing, and return how often."""
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise Refusal(400, "INVALID_FILE", f"{path} is not a regular file.")
    if info.st_size > _REPLACE_LIMIT:
        raise Refusal(413, "INVALID_FILE", f"{path} is over {_REPLACE_LIMIT} bytes.")
    with open(path, "rb") as file:
        data = file.read(_REPLACE_LIMIT)
    old, new = wanted.old.encode(), wanted.new.encode()
    count = data.count(old)
    if count:
        with Target(path, Ownership()) as target:
            target.write(data.replace(old, new))
            target.commit()
    return count


ROUTES = [
    Route("/files/info", _info),
    Route("/files", _delete, methods=["DELETE"]),
    Route("/files/permissions", _permissions, methods=["POST"]),
    Route("/files/mv", _move, methods=["POST"]),
    Route("/files/search", search),
    Route("/files/replace", _replace, methods=["POST"]),
    Route("/files/download", download),
]
