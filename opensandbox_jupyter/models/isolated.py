"""Nouns of isolated sessions: walls inside a sandbox. Names are those of OpenSandbox's own SDK."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from opensandbox_jupyter.models._base import Model, OrNewer, Request

__all__ = [
    "BindMount",
    "CreateIsolatedSessionRequest",
    "EnvPassthroughSpec",
    "HardeningLayerState",
    "HardeningStatus",
    "IsolatedBackgroundRun",
    "IsolatedCapabilities",
    "IsolatedOverlaySpec",
    "IsolatedRunLogs",
    "IsolatedRunOpts",
    "IsolatedRunStatus",
    "IsolatedSessionInfo",
    "IsolatedSessionState",
    "IsolatedSessionSummary",
    "IsolatedWorkspaceSpec",
]

_Id = Annotated[int, Field(ge=0, le=2**32 - 1)]


class IsolatedWorkspaceSpec(Request):
    """The directory that a session works in: ``rw``, ``ro``, or a copy on write (``overlay``)."""

    path: str
    mode: str | None = None


class IsolatedOverlaySpec(Request):
    """One more directory; a server's usual mode is ``overlay``."""

    path: str
    mode: str | None = None
    persist: bool | None = None


class EnvPassthroughSpec(Request):
    """Which variables a session gets: only ``keys`` (``allow``), or all but them (``deny``)."""

    mode: Annotated[Literal["allow", "deny"], OrNewer] = "deny"
    keys: list[str] = Field(default_factory=list)


class BindMount(Request):
    """A path of the sandbox, and where a session sees it."""

    source: str
    dest: str | None = None
    readonly: bool | None = None


class CreateIsolatedSessionRequest(Request):
    """A session that is wanted. ``idle_timeout_seconds`` ends it when nothing is asked; 0 never."""

    workspace: IsolatedWorkspaceSpec | None = None
    overlays: Annotated[list[IsolatedOverlaySpec], Field(max_length=16)] | None = None
    profile: Literal["strict", "balanced"] | None = None
    extra_writable: list[str] | None = None
    binds: list[BindMount] | None = None
    share_net: bool | None = None
    env_passthrough: EnvPassthroughSpec | None = None
    uid: _Id | None = None
    gid: _Id | None = None
    uid_mode: Literal["setpriv", "userns"] | None = None
    idle_timeout_seconds: Annotated[int, Field(ge=0)] | None = None


class _Asked(Model):
    """How a session was made, as far as the daemon says it."""

    profile: str | None = None
    workspace: IsolatedWorkspaceSpec | None = None
    overlays: list[IsolatedOverlaySpec] | None = None
    extra_writable: list[str] | None = None
    binds: list[BindMount] | None = None
    share_net: bool | None = None
    env_passthrough: EnvPassthroughSpec | None = None
    uid: int | None = None
    gid: int | None = None
    uid_mode: str | None = None
    idle_timeout_seconds: int | None = None


class IsolatedSessionInfo(_Asked):
    """A session, and how it was made."""

    session_id: str
    created_at: datetime | None = None


class IsolatedSessionState(_Asked):
    """How a session fares: ``active``, ``dead`` or ``destroyed``. Times are UTC."""

    status: str
    created_at: datetime | None = None
    last_run_at: datetime | None = None
    idle_remaining_seconds: int | None = None


class IsolatedSessionSummary(Model):
    """One session of a list."""

    session_id: str
    status: str
    created_at: datetime | None = None
    last_run_at: datetime | None = None
    idle_remaining_seconds: int | None = None


class IsolatedRunOpts(Request):
    """How to run code in a session; ``timeout_seconds`` bounds it."""

    envs: dict[str, str] | None = Field(default=None, repr=False)
    timeout_seconds: Annotated[int, Field(ge=1)] | None = None


class IsolatedBackgroundRun(Model):
    """A run that goes on by itself."""

    session_id: str
    run_id: str
    started_at: datetime | None = None


class IsolatedRunStatus(Model):
    """How such a run fares."""

    session_id: str
    run_id: str
    running: bool
    exit_code: int | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class IsolatedRunLogs(Model):
    """What such a run has written from a cursor on; ``cursor`` is where to go on (bytes)."""

    text: str
    cursor: int


class HardeningLayerState(Model):
    """Whether one layer of walls is up."""

    state: str | None = None
    message: str | None = None


class HardeningStatus(Model):
    """Which layers of walls are up."""

    init_mode: str | None = None
    signal_shield: bool = False
    cap_drop: HardeningLayerState | None = None
    seccomp: HardeningLayerState | None = None
    landlock: HardeningLayerState | None = None
    ebpf: HardeningLayerState | None = None


class IsolatedCapabilities(Model):
    """Whether sessions can be had here, and of which kinds."""

    available: bool = False
    isolator: str | None = None
    version: str | None = None
    message: str | None = None
    setpriv_available: bool = False
    userns_available: bool = False
    commit_supported: bool = False
    diff_supported: bool = False
    hardening: HardeningStatus | None = None
