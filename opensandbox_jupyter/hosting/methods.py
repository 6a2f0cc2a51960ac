"""Which methods a path takes, all routes together."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

__all__ = ["methods_of"]


def methods_of(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """Return the methods that some route takes at the path of ``scope``, sorted."""
    found: set[str] = set()
    for route in routes:
        match, inner = route.matches(scope)
        if match is Match.NONE:
            continue
        if isinstance(route, Mount):
            found.update(methods_of(route.routes, {**scope, **inner}))
        elif isinstance(route, Route):
            found.update(route.methods or ())
    return sorted(found)
