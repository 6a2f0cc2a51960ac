"""Operations on execd's code contexts."""

from __future__ import annotations

from urllib.parse import quote

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer
from opensandbox_jupyter.wire.opensandbox._read import OK, build, read_model, to_json
from opensandbox_jupyter.wire.opensandbox.execd import STREAM
from opensandbox_jupyter.wire.protocol.code import CodeCalls

__all__ = ["Code"]


def _one(context_id: str) -> str:
    return f"/code/contexts/{quote(context_id, safe='')}"


class Code(CodeCalls):
    """Make, list and end contexts; run code in them."""

    def create_context(self, sandbox: Origin, language: str) -> Operation[models.CodeContext]:
        """POST /code/context."""
        body = to_json({"language": language})
        call = Call("create_context", sandbox, "POST", "/code/context", json=body)
        return read_model(call, (yield call), models.CodeContext)

    def get_context(self, sandbox: Origin, context_id: str) -> Operation[models.CodeContext]:
        """GET /code/contexts/{id}."""
        call = Call("get_context", sandbox, "GET", _one(context_id))
        return read_model(call, (yield call), models.CodeContext)

    def list_contexts(self, sandbox: Origin, language: str) -> Operation[list[models.CodeContext]]:
        """GET /code/contexts?language=."""
        call = Call("list_contexts", sandbox, "GET", "/code/contexts", [("language", language)])
        found = decode_json(call, expect(call, (yield call), OK))
        if not isinstance(found, list):
            raise invalid_answer(call, ValueError("a list was expected"))
        return [build(call, models.CodeContext, one) for one in found]

    def delete_context(self, sandbox: Origin, context_id: str) -> Operation[None]:
        """DELETE /code/contexts/{id}."""
        call = Call("delete_context", sandbox, "DELETE", _one(context_id))
        expect(call, (yield call))

    def delete_contexts(self, sandbox: Origin, language: str) -> Operation[None]:
        """DELETE /code/contexts?language=."""
        query = [("language", language)]
        call = Call("delete_contexts", sandbox, "DELETE", "/code/contexts", query)
        expect(call, (yield call))

    def run_code(self, sandbox: Origin, code: str, context: models.CodeContext) -> Call:
        """POST /code; without an id it runs in the usual context of its language."""
        where = {"language": context.language, **({"id": context.id} if context.id else {})}
        body = to_json({"code": code, "context": where})
        return Call("run_code", sandbox, "POST", "/code", headers=STREAM, json=body)

    def interrupt_code(self, sandbox: Origin, context_id: str) -> Operation[None]:
        """DELETE /code?id=."""
        call = Call("interrupt_code", sandbox, "DELETE", "/code", [("id", context_id)])
        expect(call, (yield call))
