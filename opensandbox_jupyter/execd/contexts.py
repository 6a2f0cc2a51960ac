"""Code contexts: each a process that remembers what ran in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.interpreters import Interpreter
from opensandbox_jupyter.execd.shells import Shell

__all__ = ["PROBED_PORT", "Context", "Contexts"]

PROBED_PORT = 44_771
"""Where clients look for a server of kernels before they use contexts."""

_MOST = 64
_LANGUAGES = ("python", "bash")


@dataclass
class Context:
    """One context, and its process while it has one."""

    id: str
    language: str
    cwd: str
    resident: Interpreter | Shell | None = None
    has_run: bool = False

    def view(self) -> dict[str, str]:
        """Return what clients see of it."""
        return {"id": self.id, "language": self.language, "cwd": self.cwd}


class Contexts:
    """All contexts; ``environment`` returns the variables of a process that starts."""

    def __init__(self, environment: Callable[[], dict[str, str]]) -> None:
        self._environment = environment
        self._contexts: dict[str, Context] = {}
        self._usual: dict[str, str] = {}
        self._probed: asyncio.Server | None = None

    async def listen(self) -> None:
        """Answer whoever looks for a server of kernels; a port that is taken is left alone."""

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        try:
            self._probed = await asyncio.start_server(hang_up, "127.0.0.1", PROBED_PORT)
        except OSError:
            self._probed = None

    def all(self, language: str | None = None) -> list[Context]:
        """Return every context, or those of a language."""
        return [one for one in self._contexts.values() if language in (None, one.language)]

    def make(self, language: str, cwd: str) -> Context:
        """Make a context. Raises: Refusal 400 or 409."""
        if language not in _LANGUAGES:
            known = " and ".join(_LANGUAGES)
            raise bad_request(f"This sandbox runs {known}, not {language[:32]!r}.")
        if len(self._contexts) >= _MOST:
            raise Refusal(409, "RUNTIME_ERROR", f"There are {_MOST} contexts; delete one first.")
        context = Context(str(uuid4()), language, cwd)
        self._contexts[context.id] = context
        return context

    def usual(self, language: str, cwd: str) -> Context:
        """Return the context of who names none, made when it is needed. Raises: Refusal."""
        found = self._contexts.get(self._usual.get(language, ""))
        if found is None:
            found = self.make(language, cwd)
            self._usual[language] = found.id
        return found

    def get(self, context_id: str) -> Context | None:
        """Return a context, if there is one of that id."""
        return self._contexts.get(context_id)

    def find(self, context_id: str) -> Context:
        """Return a context. Raises: Refusal 404."""
        found = self._contexts.get(context_id)
        if found is None:
            message = f"There is no code context {context_id[:64]}."
            raise Refusal(404, "CONTEXT_NOT_FOUND", message)
        return found

    def wake(self, context: Context) -> Interpreter | Shell:
        """Return the process of a context, started when it has none.

        Raises:
            Refusal: 500, it cannot be started.
        """
        if context.resident is None:
            kind = Interpreter if context.language == "python" else Shell

            def ended() -> None:
                if context.resident is made:
                    context.resident = None

            try:
                made = kind(context.id, context.cwd, self._environment(), ended)
            except OSError as exc:
                raise Refusal(500, "RUNTIME_ERROR", f"It cannot be started: {exc}") from None
            context.resident = made
        return context.resident

    async def interrupt(self, context: Context) -> None:
        """End what runs in a context. Raises: Refusal 404 when nothing does."""
        if context.resident is None:
            raise Refusal(404, "RUNTIME_ERROR", f"Nothing runs in {context.id}.")
        await context.resident.interrupt()

    async def delete(self, context: Context) -> None:
        """End a context and everything that it started."""
        self._contexts.pop(context.id, None)
        if context.resident is not None:
            await context.resident.end()

    async def close(self) -> None:
        """End all of them."""
        if self._probed is not None:
            self._probed.close()
        for context in self.all():
            await self.delete(context)
