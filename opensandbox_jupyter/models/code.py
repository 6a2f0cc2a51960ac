"""Nouns of code contexts. Names are those of OpenSandbox's own code interpreter."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from opensandbox_jupyter.models._base import Model

__all__ = ["CodeContext", "SupportedLanguage"]


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


class SupportedLanguage:
    """Languages that a server may run, as plain strings. The embedded one runs Python and bash."""

    PYTHON = "python"
    JAVA = "java"
    GO = "go"
    TYPESCRIPT = "typescript"
    BASH = "bash"
    JAVASCRIPT = "javascript"


class CodeContext(Model):
    """A place where code runs and leaves its state; without an ``id``, the usual one."""

    id: str | None = None
    language: Annotated[str, AfterValidator(_not_blank)]
