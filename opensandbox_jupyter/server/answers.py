"""The forms that answers have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from opensandbox_jupyter.server.requests import parse_page

__all__ = ["json_response", "page_of"]

_T = TypeVar("_T")


def json_response(
    content: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return ``content`` as a JSON answer."""
    return Response(
        msgspec.json.encode(content), status, headers=headers, media_type="application/json"
    )


def page_of(
    request: Request, found: Sequence[_T], view: Callable[[_T], dict[str, Any]]
) -> dict[str, Any]:
    """Return the page of ``found`` that ``request`` asks for. Raises: Refusal 400."""
    page, size = parse_page(request.query_params)
    pages = -(-len(found) // size)
    return {
        "items": [view(one) for one in found[(page - 1) * size : page * size]],
        "pagination": {
            "page": page,
            "pageSize": size,
            "totalItems": len(found),
            "totalPages": pages,
            "hasNextPage": page < pages,
        },
    }
