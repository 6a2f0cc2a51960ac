"""``opensandbox-jupyter image`` and ``gc``: what the embedded server keeps on the disk."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import InvalidArgumentException, printable

if TYPE_CHECKING:
    from opensandbox_jupyter.server.image_store import ImageStore

__all__ = ["add_verbs"]


def add_verbs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the command line."""
    image = commands.add_parser("image", help="import, list, build and remove images")
    verbs = image.add_subparsers(required=True, metavar="verb")
    add = verbs.add_parser("import", help="import a root file system or an OCI or Docker archive")
    add.add_argument("archive", type=Path, help="a tar file, compressed or not")
    add.add_argument("--name", required=True, help="such as python:3.11")
    add.set_defaults(run=_import)
    make = verbs.add_parser("build", help="build an image from a part of the Dockerfile language")
    make.add_argument("context", type=Path, nargs="?", default=Path(), help="what COPY copies from")
    make.add_argument("-f", "--file", type=Path, help="default: Dockerfile in the context")
    make.add_argument("--name", required=True, help="such as mine:1")
    make.set_defaults(run=_build)
    verbs.add_parser("list", help="list imported images").set_defaults(run=_list)
    remove = verbs.add_parser("remove", help="remove images; their sandboxes go on")
    remove.add_argument("names", nargs="+", metavar="name")
    remove.set_defaults(run=_remove)
    clean = commands.add_parser("gc", help="remove what earlier servers and imports left behind")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    clean.set_defaults(run=_clean)


def _store() -> ImageStore:
    from opensandbox_jupyter.runtime_file import places
    from opensandbox_jupyter.server.image_store import ImageStore

    return ImageStore(places().data)


def _import(options: argparse.Namespace) -> int:
    image = _store().add_archive(options.archive, options.name)
    print(f"imported {image.name}, {size_of(image.size)}")
    return 0


def _build(options: argparse.Namespace) -> int:
    from opensandbox_jupyter.cli.building import build
    from opensandbox_jupyter.cli.dockerfile import read_dockerfile

    file = options.file or options.context / "Dockerfile"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentException(f"{file} cannot be read: {error}.") from error
    image = build(read_dockerfile(text), options.context, options.name)
    print(f"built {image.name}, {size_of(image.size)}")
    return 0


def _list(_: argparse.Namespace) -> int:
    for image in _store().all():
        day = time.strftime("%Y-%m-%d", time.localtime(image.created))
        lies = f", on {image.base}" if image.base else ""
        print(f"{image.name}  {size_of(image.size)}  {day}{lies}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    store, missing = _store(), 0
    for name in options.names:
        if store.remove(name):
            print(f"removed {name}")
        else:
            print(f"error: there is no imported image {printable(name)}", file=sys.stderr)
            missing += 1
    return 1 if missing else 0


def _clean(options: argparse.Namespace) -> int:
    from opensandbox_jupyter.runtime_file import places
    from opensandbox_jupyter.server.upkeep import clean

    freed = 0
    for leftover in clean(places(), dry_run=options.dry_run):
        print(f"{leftover.what}  {size_of(leftover.size)}")
        freed += leftover.size
    print(f"{'would free' if options.dry_run else 'freed'} {size_of(freed)}")
    return 0


def size_of(size: int) -> str:
    """Return a number of bytes for people."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
