"""Runs an operation by hand: one answer for each effect, and everything that was asked for."""

from __future__ import annotations

import json
from typing import Any

from opensandbox_jupyter.wire.base import Call, Origin, Reply

SERVER = Origin("http://server/v1", {"OPEN-SANDBOX-API-KEY": "k"})
SANDBOX = Origin("http://sandbox:1")


def ok(data: Any = None, status: int = 200, **headers: str) -> Reply:
    """Return a JSON reply."""
    names = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Reply(status, names, b"" if data is None else json.dumps(data).encode())


def drive(operation: Any, *answers: Any) -> tuple[Any, list[Any]]:
    """Return the operation's result and the effects that it asked for, in order."""
    effects = []
    queue = list(answers)
    try:
        effect = next(operation)
        while True:
            effects.append(effect)
            answer = queue.pop(0)
            if isinstance(answer, BaseException):
                effect = operation.throw(answer)
            else:
                effect = operation.send(answer)
    except StopIteration as end:
        assert not queue, f"answers were left: {queue}"
        return end.value, effects


def sent(call: Call) -> Any:
    """Return the JSON body of a call."""
    assert call.json is not None
    return json.loads(call.json)
