"""Nouns of execd's file API.

Modes are octal digits written as a decimal number: ``755`` is rwxr-xr-x, ``0`` leaves it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import IOBase
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, ConfigDict, Field, InstanceOf, field_validator

from opensandbox_jupyter.models._base import Model, Request

__all__ = [
    "Change",
    "ContentReplaceEntry",
    "ContentReplaceResult",
    "DirectoryListEntry",
    "EntryInfo",
    "MoveEntry",
    "SearchEntry",
    "SetPermissionEntry",
    "WriteEntry",
]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


_Filled = Annotated[str, AfterValidator(_not_blank)]


def _octal_digits(mode: int) -> int:
    if mode < 0 or mode > 7777 or not set(str(mode)) <= set("01234567"):
        raise ValueError(f"{mode} is not octal digits; write 755 for rwxr-xr-x, not 0o755")
    return mode


class _OfPath(Request):
    path: _Filled


class _WithMode(_OfPath):
    mode: int = 755
    owner: str | None = None
    group: str | None = None

    @field_validator("mode")
    @classmethod
    def _mode_is_octal(cls, value: int) -> int:
        return _octal_digits(value)


class EntryInfo(Model):
    """What is known about a file or directory. Size in bytes, times UTC, links not followed."""

    path: str
    entry_type: str | None = Field(
        default=None,
        validation_alias=AliasChoices("type", "entry_type"),
        serialization_alias="type",
    )
    mode: int
    owner: str
    group: str
    size: int
    modified_at: datetime
    created_at: datetime


Kind = Literal["created", "changed", "deleted"]


@dataclass(frozen=True, slots=True)
class Change:
    """What ``files.watch`` saw: ``entry`` as it is now, or as it last was if it is gone."""

    kind: Kind
    entry: EntryInfo


class WriteEntry(_WithMode):
    """A file to write: text (in ``encoding``), bytes, or an open binary or text file."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    data: Annotated[
        InstanceOf[bytes] | InstanceOf[str] | bytes | IOBase | None,
        Field(union_mode="left_to_right"),  # an instance is taken as it is, a copy may be big
    ] = Field(default=None, repr=False)
    encoding: _Filled = "utf-8"


class SetPermissionEntry(_WithMode):
    """New owner, group (names) and mode of a path."""


class MoveEntry(Request):
    """A move. The parent of ``dest`` is made; ``dest`` must not exist."""

    src: _Filled = Field(validation_alias=AliasChoices("src", "source"))
    dest: _Filled = Field(validation_alias=AliasChoices("dest", "destination"))


class ContentReplaceEntry(_OfPath):
    """A replacement of every ``old_content``, taken literally, in one file."""

    old_content: Annotated[str, Field(min_length=1)]
    new_content: str


class ContentReplaceResult(Model):
    """How often something was replaced in a file."""

    path: str
    replaced_count: int = Field(validation_alias=AliasChoices("replacedCount", "replaced_count"))


class SearchEntry(_OfPath):
    """A search below ``path`` for names that match the glob ``pattern``."""

    pattern: _Filled = "**"


class DirectoryListEntry(_OfPath):
    """A listing of ``path``, ``depth`` levels deep (1 when not given)."""

    depth: Annotated[int, Field(ge=0)] | None = None
