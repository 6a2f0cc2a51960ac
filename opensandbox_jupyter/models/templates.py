"""Nouns of templates: a sandbox started once, made ready, and kept."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field

from opensandbox_jupyter.models._base import CamelModel, LifecycleModel, LifecycleRequest
from opensandbox_jupyter.models.sandboxes import PaginationInfo, Text

__all__ = [
    "CreateTemplateRequest",
    "PagedTemplateInfos",
    "TemplateFilter",
    "TemplateInfo",
    "TemplatePhase",
    "TemplateReadiness",
    "TemplateStatus",
]

Format = Literal["native", "overlaybd"]


def _natural(value: int) -> int:
    if value < 1:
        raise ValueError("must be at least 1")
    return value


Natural = Annotated[int, AfterValidator(_natural)]


class TemplatePhase:
    """How far a template is, as plain strings. A server may send others."""

    PENDING = "Pending"
    BUILDING = "Building"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @classmethod
    def values(cls) -> set[str]:
        """Return all of them."""
        return {value for name, value in vars(cls).items() if name.isupper()}


class TemplateReadiness(LifecycleRequest):
    """When a template is ready to be kept.

    ``probe`` is ``tcp://127.0.0.1:PORT`` or ``cmd://COMMAND``; without one ``warmup_seconds`` are
    waited.
    """

    probe: str | None = None
    warmup_seconds: int | None = None


class TemplateStatus(CamelModel):
    """How far a template is; ``message`` says why it failed."""

    phase: str
    manifest_ref: str | None = None
    message: str | None = None


class CreateTemplateRequest(LifecycleRequest):
    """A template that is wanted, from ``image``. ``publish`` says where a server keeps it."""

    image: Text
    publish: Text
    resource_limits: dict[str, str] | None = None
    entrypoint: list[str] | None = None
    env: dict[str, str] | None = Field(default=None, repr=False)
    metadata: dict[str, str] | None = None
    readiness: TemplateReadiness | None = None
    format: Format | None = None


class TemplateInfo(LifecycleModel):
    """A template. Sandboxes begin from it once its phase is ``Succeeded``. Times are UTC."""

    template_id: str = Field(serialization_alias="templateId")
    image: str
    publish: str
    format: str = "overlaybd"
    status: TemplateStatus
    created_at: datetime
    updated_at: datetime
    resource_limits: dict[str, str] | None = Field(
        default=None, serialization_alias="resourceLimits"
    )
    entrypoint: list[str] | None = None
    env: dict[str, str] | None = Field(default=None, repr=False)
    metadata: dict[str, str] | None = None
    readiness: TemplateReadiness | None = None


class TemplateFilter(LifecycleRequest):
    """Which templates to list: those with all of ``metadata``."""

    metadata: dict[str, str] | None = None
    page_size: Natural | None = None
    page: Natural | None = None


class PagedTemplateInfos(LifecycleModel):
    """One page of a list of templates."""

    template_infos: list[TemplateInfo] = Field(
        validation_alias=AliasChoices("items", "template_infos", "templateInfos")
    )
    pagination: PaginationInfo
