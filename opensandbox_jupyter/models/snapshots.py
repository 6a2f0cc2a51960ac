"""Nouns of snapshots: a sandbox's files, kept."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AliasChoices, Field

from opensandbox_jupyter.models._base import LifecycleModel, LifecycleRequest
from opensandbox_jupyter.models.sandboxes import PaginationInfo

__all__: list[str] = [
    "PagedSnapshotInfos",
    "SnapshotFilter",
    "SnapshotInfo",
    "SnapshotState",
    "SnapshotStatus",
]


class SnapshotState:
    """States of a snapshot, as plain strings."""

    CREATING = "Creating"
    DELETING = "Deleting"
    READY = "Ready"
    FAILED = "Failed"


class SnapshotStatus(LifecycleModel):
    """The state of a snapshot and why it is in it."""

    state: str
    reason: str | None = None
    message: str | None = None
    last_transition_at: datetime | None = None


class SnapshotInfo(LifecycleModel):
    """A snapshot. It can be begun from once its state is ``Ready``."""

    id: str
    sandbox_id: str
    name: str | None = None
    status: SnapshotStatus
    created_at: datetime


class SnapshotFilter(LifecycleRequest):
    """Which snapshots to list: of one sandbox, of one name, in any of ``states``."""

    sandbox_id: str | None = None
    name: str | None = None
    states: list[str] | None = None
    page_size: Annotated[int, Field(ge=1)] | None = None
    page: Annotated[int, Field(ge=1)] | None = None


class PagedSnapshotInfos(LifecycleModel):
    """One page of a list of snapshots."""

    snapshot_infos: list[SnapshotInfo] = Field(
        validation_alias=AliasChoices("items", "snapshot_infos", "snapshotInfos")
    )
    pagination: PaginationInfo
