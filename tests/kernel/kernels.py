"""A live kernel, and what a front end gets to see of it."""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

_PATIENCE = 50


@dataclass
class Cell:
    """What came of one cell."""

    reply: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def status(self) -> str:
        return str(self.reply.get("status"))

    @property
    def displays(self) -> list[str]:
        """The text of each display as it is saved: updates have been applied."""
        texts: dict[str, str] = {}
        for number, message in enumerate(self.messages):
            content = message["content"]
            key = content.get("transient", {}).get("display_id") or f"none-{number}"
            is_new = message["msg_type"] in ("display_data", "execute_result")
            if is_new or (message["msg_type"] == "update_display_data" and key in texts):
                texts[key] = content["data"]["text/plain"]
        return list(texts.values())

    @property
    def text(self) -> str:
        return "\n".join(self.displays)

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [m["content"] for m in self.messages if m["msg_type"] == "error"]

    def count(self, kind: str) -> int:
        return sum(m["msg_type"] == kind for m in self.messages)


class Kernel:
    """Runs cells one after the other, as a notebook does."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.displays: dict[str, str] = {}
        """The text of every display by its id, in whatever cell it was updated."""
        self._replies: dict[str, dict[str, Any]] = {}
        self._cells: dict[str, Cell] = {}

    def send(self, code: str) -> str:
        return str(self.client.execute(code, store_history=True))

    def run(self, code: str) -> Cell:
        return self.collect(self.send(code))

    def collect(self, request: str, *, until: str | None = None) -> Cell:
        """Read until the cell is idle, or until a display holds the text ``until``; then go on."""
        cell = self._cells.setdefault(request, Cell())
        began = time.monotonic()
        while True:
            message = self.read()
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["content"].get("execution_state") == "idle":
                break
            if message["msg_type"] not in ("status", "execute_input"):
                cell.messages.append(message)
            if until is not None and until in cell.text:
                return cell
        cell.seconds = time.monotonic() - began
        cell.reply = self._reply(request)
        return cell

    def read(self) -> dict[str, Any]:
        """Return the next message that a front end would see."""
        message: dict[str, Any] = self.client.get_iopub_msg(timeout=_PATIENCE)
        display = message["content"].get("transient", {}).get("display_id")
        if display:
            self.displays[display] = message["content"]["data"]["text/plain"]
        return message

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the kernel."""
        request = self.client.execute("", user_expressions={"it": expression}, store_history=False)
        self.collect(request)
        result = self._replies[request]["user_expressions"]["it"]
        assert result["status"] == "ok", result
        return ast.literal_eval(result["data"]["text/plain"])

    def complete(self, code: str) -> list[str]:
        request = self.client.complete(code, len(code))
        return list(self._reply(request)["matches"])

    def _reply(self, request: str) -> dict[str, Any]:
        while request not in self._replies:
            message = self.client.get_shell_msg(timeout=_PATIENCE)
            self._replies[message["parent_header"]["msg_id"]] = message["content"]
        return self._replies[request]


@contextmanager
def living_kernel(env: dict[str, str] | None = None) -> Iterator[Kernel]:
    """Start a kernel with the magics loaded; shut it down politely at the end."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, **(env or {})})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=_PATIENCE)
        kernel = Kernel(manager, client)
        assert kernel.run("%load_ext opensandbox_jupyter").messages == []
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
