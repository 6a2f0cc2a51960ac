"""What is asked of a sandbox's daemon about code."""

from __future__ import annotations

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["CodeCalls"]


class CodeCalls(Refusal):
    """Code contexts."""

    def create_context(self, sandbox: Origin, language: str) -> Operation[models.CodeContext]:
        """Make a context."""
        self._lacks("code contexts")

    def get_context(self, sandbox: Origin, context_id: str) -> Operation[models.CodeContext]:
        """Look at a context."""
        self._lacks("code contexts")

    def list_contexts(self, sandbox: Origin, language: str) -> Operation[list[models.CodeContext]]:
        """List the contexts of a language."""
        self._lacks("code contexts")

    def delete_context(self, sandbox: Origin, context_id: str) -> Operation[None]:
        """End a context."""
        self._lacks("code contexts")

    def delete_contexts(self, sandbox: Origin, language: str) -> Operation[None]:
        """End the contexts of a language."""
        self._lacks("code contexts")

    def run_code(self, sandbox: Origin, code: str, context: models.CodeContext) -> Call:
        """Run code; the answer streams its events."""
        self._lacks("code contexts")

    def interrupt_code(self, sandbox: Origin, context_id: str) -> Operation[None]:
        """Interrupt what runs in a context."""
        self._lacks("code contexts")
