"""``/credential-vault`` of a sandbox's sidecar: what it holds, and how it is changed."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from opensandbox_jupyter.egress.vault import Conflict, Missing, Vault
from opensandbox_jupyter.server.errors import Refusal

__all__ = ["PATH", "answer_vault"]

PATH = "credential-vault"
_BODY_SECONDS = 30.0


async def answer_vault(vault: Vault | None, request: Request, rest: str) -> Response:
    """Answer a request for what is at ``rest``, below the vault's own path.

    Raises:
        Refusal: it is wrong, or goes against what is there; nothing changed.
    """
    if vault is None:
        message = "This sandbox was made without `credentialProxy`, which a vault needs."
        raise Refusal(404 if request.method == "GET" else 412, "", message)
    try:
        body = await asyncio.wait_for(request.body(), _BODY_SECONDS)
        found = _answer(vault, request.method, rest.split("/"), body)
    except asyncio.TimeoutError as error:
        raise Refusal(408, "", "The request did not end.") from error
    except Missing as error:
        raise Refusal(404, "", str(error.args[0])) from error
    except Conflict as error:
        raise Refusal(409, "", str(error)) from error
    except ValueError as error:
        raise Refusal(400, "", str(error)) from error
    if found is None:
        return Response(status_code=204)
    status = 201 if request.method == "POST" else 200
    return Response(msgspec.json.encode(found), status, media_type="application/json")


def _answer(vault: Vault, method: str, parts: list[str], body: bytes) -> object | None:
    """Return what to say, ``None`` for nothing."""
    if parts == [""]:
        if method == "POST":
            vault.create(body)
        elif method == "PATCH":
            vault.mutate(body)
        elif method == "DELETE":
            vault.delete()
            return None
        elif method != "GET":
            raise Refusal(405, "", "The vault does not take that.")
        return vault.state()
    if method != "GET":
        raise Refusal(405, "", "What is in the vault is changed by PATCH of the vault.")
    look = {"credentials": vault.credentials, "bindings": vault.bindings}
    look_at = {"credentials": vault.credential, "bindings": vault.binding}
    if len(parts) == 2 and parts[1] in look:
        return look[parts[1]]()
    if len(parts) == 3 and parts[1] in look_at:
        return look_at[parts[1]](parts[2])
    raise Refusal(404, "", "There are only credentials and bindings in a vault.")
