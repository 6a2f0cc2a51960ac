"""Code interpreters under the names of OpenSandbox's own ``code_interpreter``."""

from __future__ import annotations

from opensandbox_jupyter.interpreter import CodeInterpreter
from opensandbox_jupyter.models.code import CodeContext, SupportedLanguage
from opensandbox_jupyter.sync.interpreter import CodeInterpreterSync

__all__ = ["CodeContext", "CodeInterpreter", "CodeInterpreterSync", "SupportedLanguage"]
