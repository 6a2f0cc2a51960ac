"""What a sandbox begins from: this host's own system, an image, a snapshot or a template."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.image_store import ImageStore
from opensandbox_jupyter.server.images import Image, find_image
from opensandbox_jupyter.server.records import Record, Snapshot
from opensandbox_jupyter.server.snapshots import Snapshots

__all__ = ["Beginning", "Beginnings"]


@dataclass(frozen=True)
class Beginning:
    """Where the first files come from, and how their programs want to be run."""

    name: str
    system: Image | None
    """The host's own system on which it lies, ``None`` when it brings its own."""
    snapshot: Snapshot | None = None
    image: str = ""
    """The imported image that has the files."""
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""

    @property
    def is_bare(self) -> bool:
        """Whether there are no files to copy, so that a spare may do."""
        return self.snapshot is None and not self.image

    def stamp(self, record: Record) -> None:
        """Write down in ``record`` what every later start of the sandbox must know."""
        record.image = self.name
        record.base = "" if self.system is None else self.system.name
        record.image_env = self.env
        record.cwd = self.cwd


class Beginnings:
    """Finds them."""

    def __init__(self, images: ImageStore, snapshots: Snapshots) -> None:
        self._images = images
        self._snapshots = snapshots

    def find(self, uri: str, snapshot_id: str | None) -> Beginning:
        """Return what is asked for.

        Raises:
            Refusal: 404, it is not here; 409, the snapshot is not ready.
        """
        if snapshot_id is not None:
            kept = self._snapshots.ready(snapshot_id)
            system = self._system(kept.image if kept.base is None else kept.base)
            return Beginning(kept.image, system, kept, env=kept.image_env, cwd=kept.cwd)
        image = self._images.find(uri)
        if image is None:
            names = [one.name for one in self._images.all()]
            return Beginning(uri, find_image(uri, names))
        return Beginning(
            uri,
            self._system(image.base),
            image=image.name,
            env=image.config.env,
            cwd=image.config.cwd,
        )

    @contextlib.contextmanager
    def files(self, beginning: Beginning) -> Iterator[Path]:
        """Return the files to copy, which stay there meanwhile. Raises: Refusal 404."""
        if beginning.snapshot is not None:
            with self._snapshots.reading(beginning.snapshot) as files:
                yield files
            return
        files = self._images.tree(beginning.image)
        if not files.exists():
            raise Refusal(
                404, "DOCKER::SANDBOX_IMAGE_NOT_FOUND", f"{beginning.image} was removed meanwhile."
            )
        yield files

    @staticmethod
    def _system(name: str) -> Image | None:
        return find_image(name) if name else None
