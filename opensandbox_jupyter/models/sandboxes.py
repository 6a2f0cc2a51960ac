"""Nouns of the lifecycle API: what a sandbox is made of and what is known about it.

Field names are those of OpenSandbox's own SDK; wire names are camelCase.
Behaviour is specified by the OpenSandbox lifecycle API.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, field_validator, model_validator
from typing_extensions import Self

from opensandbox_jupyter.models._base import LifecycleModel, LifecycleRequest, Model, OrNewer
from opensandbox_jupyter.models.endpoints import SandboxEndpoint
from opensandbox_jupyter.secrecy import Unpicklable

__all__ = [
    "OSSFS",
    "PVC",
    "Host",
    "LifecycleHook",
    "NetworkPolicy",
    "NetworkRule",
    "PagedSandboxInfos",
    "PaginationInfo",
    "PeriodicLifecycleHook",
    "PlatformSpec",
    "SandboxAllocation",
    "SandboxCreateResponse",
    "SandboxEndpoint",
    "SandboxFilter",
    "SandboxImageAuth",
    "SandboxImageSpec",
    "SandboxInfo",
    "SandboxLifecycle",
    "SandboxMetrics",
    "SandboxOrigin",
    "SandboxRenewResponse",
    "SandboxState",
    "SandboxStatus",
    "Volume",
]


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") and value[1:3] not in (":\\", ":/"):
        raise ValueError("must be an absolute path")
    return value


Text = Annotated[str, AfterValidator(_not_blank)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]


class SandboxState:
    """States of a sandbox, as plain strings. A server may send others: compare as text."""

    PENDING = "Pending"
    RUNNING = "Running"
    PAUSING = "Pausing"
    PAUSED = "Paused"
    RESUMING = "Resuming"
    STOPPING = "Stopping"
    TERMINATED = "Terminated"
    FAILED = "Failed"
    UNKNOWN = "Unknown"

    @classmethod
    def values(cls) -> list[str]:
        """Return all state names."""
        return [v for k, v in vars(cls).items() if k.isupper()]


class SandboxOrigin:
    """Where a sandbox comes from, as plain strings."""

    TEMPLATE = "template"
    UNKNOWN = "unknown"

    @classmethod
    def values(cls) -> list[str]:
        """Return all of them."""
        return [v for k, v in vars(cls).items() if k.isupper()]


class SandboxImageAuth(Unpicklable, LifecycleRequest):
    """Credentials of an image registry. Sent once, never returned by a server."""

    username: Text
    password: Text = Field(repr=False)


class SandboxImageSpec(LifecycleRequest):
    """An image by name, with credentials where its registry asks for them.

    ``image`` may be given by position: ``SandboxImageSpec("python:3.11")``.
    """

    image: Text = Field(validation_alias=AliasChoices("image", "uri"), serialization_alias="uri")
    auth: SandboxImageAuth | None = None

    def __init__(
        self, image: str | None = None, *, auth: SandboxImageAuth | None = None, **data: object
    ) -> None:
        if image is not None:
            data["image"] = image
        super().__init__(**data, **({"auth": auth} if auth is not None else {}))


class PlatformSpec(LifecycleRequest):
    """The operating system and processor that a sandbox must have."""

    os: Annotated[Literal["linux", "windows"], OrNewer]
    arch: Annotated[Literal["amd64", "arm64"], OrNewer]


class NetworkRule(LifecycleRequest):
    """One egress rule; ``target`` is a domain, a wildcard like ``*.example.com``, or an address."""

    action: Annotated[Literal["allow", "deny"], OrNewer]
    target: Text


class NetworkPolicy(LifecycleRequest):
    """Egress rules: the first that matches wins, else ``default_action`` (deny)."""

    default_action: Annotated[Literal["allow", "deny"], OrNewer] = "deny"
    egress: list[NetworkRule] | None = None


class Host(LifecycleRequest):
    """A directory of the server's host; it must lie inside the server's allow-list."""

    path: AbsolutePath


class PVC(LifecycleRequest):
    """A named volume: a Kubernetes claim or a named Docker volume."""

    claim_name: Annotated[Text, Field(max_length=253)]
    create_if_not_exists: bool = True
    delete_on_sandbox_termination: bool = False
    storage_class: str | None = None
    storage: str | None = None
    access_modes: list[str] | None = None


class OSSFS(Unpicklable, LifecycleRequest):
    """A bucket of an object store, mounted as a file system."""

    bucket: Annotated[Text, Field(min_length=3, max_length=63)]
    endpoint: Text
    version: Literal["1.0", "2.0"] = "2.0"
    options: list[str] | None = None
    access_key_id: str | None = Field(default=None, repr=False)
    access_key_secret: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if not (self.access_key_id and self.access_key_secret):
            raise ValueError("access_key_id and access_key_secret are both needed")
        return self


class Volume(LifecycleRequest):
    """A mount: exactly one of ``host``, ``pvc`` and ``ossfs``, at an absolute ``mount_path``."""

    name: Annotated[Text, Field(max_length=63)]
    host: Host | None = None
    pvc: PVC | None = None
    ossfs: OSSFS | None = None
    mount_path: AbsolutePath
    read_only: bool = False
    sub_path: str | None = None

    @model_validator(mode="after")
    def _one_backend(self) -> Self:
        if sum(b is not None for b in (self.host, self.pvc, self.ossfs)) != 1:
            raise ValueError("give exactly one of host, pvc and ossfs")
        return self


class LifecycleHook(LifecycleRequest):
    """A command that a server runs at a point of a sandbox's life; it may take 1 to 10800 s."""

    command: Annotated[list[str], Field(min_length=1)]
    timeout_seconds: Annotated[int, Field(ge=1, le=10_800)] | None = None


class PeriodicLifecycleHook(LifecycleRequest):
    """A command that a server runs again and again; each time may take 1 to 300 s."""

    name: Text
    schedule: Text
    command: Annotated[list[str], Field(min_length=1)]
    timeout_seconds: Annotated[int, Field(ge=1, le=300)] | None = None


class SandboxLifecycle(LifecycleRequest):
    """What a server runs before a sandbox starts, and while it lives."""

    pre_start: LifecycleHook | None = None
    periodic: list[PeriodicLifecycleHook] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [hook.name for hook in self.periodic or ()]
        if len(set(names)) < len(names):
            raise ValueError("two periodic hooks have the same name")
        return self


class SandboxStatus(LifecycleModel):
    """The state of a sandbox and why it is in it."""

    state: str
    reason: str | None = None
    message: str | None = None
    last_transition_at: datetime | None = None


class SandboxAllocation(LifecycleModel):
    """Where a sandbox came from when it was taken from a pool."""

    mode: str = "pool"
    pool_ref: str
    state: str = "allocated"


class SandboxInfo(LifecycleModel):
    """What the lifecycle server knows about a sandbox. Times are UTC.

    ``expires_at`` is ``None`` for a sandbox that only a kill ends.
    """

    id: str
    status: SandboxStatus
    entrypoint: list[str] = Field(default_factory=list)
    created_at: datetime
    expires_at: datetime | None = None
    image: SandboxImageSpec | None = None
    snapshot_id: str | None = None
    platform: PlatformSpec | None = None
    allocation: SandboxAllocation | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    extensions: dict[str, str] = Field(default_factory=dict)

    @field_validator("metadata", "extensions", "entrypoint", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: object, info: object) -> object:
        if value is None:
            return [] if getattr(info, "field_name", "") == "entrypoint" else {}
        return value


class SandboxCreateResponse(LifecycleModel):
    """The answer to a create."""

    id: str
    status: SandboxStatus | None = None
    platform: PlatformSpec | None = None
    extensions: dict[str, str] | None = None


class SandboxRenewResponse(LifecycleModel):
    """The answer to a renew: the new end of life, UTC."""

    expires_at: datetime


class SandboxFilter(LifecycleRequest):
    """Which sandboxes to list: any of ``states``, and all of ``metadata`` exactly.

    ``page`` counts from 1; ``page_size`` is 1 to 200.
    """

    states: list[str] | None = None
    metadata: dict[str, str] | None = None
    page_size: Annotated[int, Field(ge=1)] | None = None
    page: Annotated[int, Field(ge=1)] | None = None


class PaginationInfo(LifecycleModel):
    """Where a page stands in its list. ``has_next_page`` is the loop condition."""

    page: int
    page_size: int
    total_items: int
    total_pages: int
    has_next_page: bool


class PagedSandboxInfos(LifecycleModel):
    """One page of a list of sandboxes."""

    sandbox_infos: list[SandboxInfo] = Field(
        validation_alias=AliasChoices("items", "sandbox_infos", "sandboxInfos")
    )
    pagination: PaginationInfo


class SandboxMetrics(Model):
    """Resource use at one moment: CPU in cores and percent, memory in MiB, time in Unix ms."""

    cpu_count: float
    cpu_used_percentage: float = Field(
        validation_alias=AliasChoices("cpu_used_pct", "cpu_used_percentage")
    )
    memory_total_in_mib: float = Field(
        validation_alias=AliasChoices("mem_total_mib", "memory_total_in_mib")
    )
    memory_used_in_mib: float = Field(
        validation_alias=AliasChoices("mem_used_mib", "memory_used_in_mib")
    )
    timestamp: int


if TYPE_CHECKING:
    from opensandbox_jupyter.models import snapshots, vault
    from opensandbox_jupyter.models.snapshots import *
    from opensandbox_jupyter.models.vault import *

    __all__ += snapshots.__all__
    __all__ += vault.__all__
else:

    def __getattr__(name: str) -> object:
        """Return a noun that has a module of its own here, and none in OpenSandbox's own SDK."""
        from opensandbox_jupyter.models import snapshots, vault

        for home in (snapshots, vault):
            if name in home.__all__:
                return getattr(home, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        from opensandbox_jupyter.models import snapshots, vault

        return sorted({*__all__, *snapshots.__all__, *vault.__all__})
