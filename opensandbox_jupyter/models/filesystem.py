"""Nouns of execd's file API.

Modes are octal digits written as a decimal number: ``755`` is rwxr-xr-x, ``0`` leaves it as it is.
"""

from __future__ import annotations

from datetime import datetime
from io import IOBase
from typing import Annotated

from pydantic import AliasChoices, ConfigDict, Field, InstanceOf, field_validator

from opensandbox_jupyter.models._base import Model, Request

__all__ = [
    "ContentReplaceEntry",
    "ContentReplaceResult",
    "DirectoryListEntry",
    "EntryInfo",
    "MoveEntry",
    "SearchEntry",
    "SetPermissionEntry",
    "WriteEntry",
]


def _octal_digits(mode: int) -> int:
    if mode < 0 or mode > 7777 or not set(str(mode)) <= set("01234567"):
        raise ValueError(f"{mode} is not octal digits; write 755 for rwxr-xr-x, not 0o755")
    return mode


class _WithMode(Request):
    path: str
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
        default=None, validation_alias=AliasChoices("type", "entry_type")
    )
    mode: int
    owner: str
    group: str
    size: int
    modified_at: datetime
    created_at: datetime


class WriteEntry(_WithMode):
    """A file to write: text (in ``encoding``), bytes, or an open binary or text file."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    data: Annotated[
        InstanceOf[bytes] | InstanceOf[str] | bytes | IOBase | None,
        Field(union_mode="left_to_right"),  # an instance is taken as it is, a copy may be big
    ] = Field(default=None, repr=False)
    encoding: str = "utf-8"


class SetPermissionEntry(_WithMode):
    """New owner, group (names) and mode of a path."""


class MoveEntry(Request):
    """A move. The parent of ``dest`` is made; ``dest`` must not exist."""

    src: str = Field(validation_alias=AliasChoices("src", "source"))
    dest: str = Field(validation_alias=AliasChoices("dest", "destination"))


class ContentReplaceEntry(Request):
    """A replacement of every ``old_content``, taken literally, in one file."""

    path: str
    old_content: Annotated[str, Field(min_length=1)]
    new_content: str


class ContentReplaceResult(Model):
    """How often something was replaced in a file."""

    path: str
    replaced_count: int = Field(validation_alias=AliasChoices("replacedCount", "replaced_count"))


class SearchEntry(Request):
    """A search below ``path`` for names that match the glob ``pattern``."""

    path: str
    pattern: str = "**"


class DirectoryListEntry(Request):
    """A listing of ``path``, ``depth`` levels deep (1 when not given)."""

    path: str
    depth: Annotated[int, Field(ge=0)] | None = None
