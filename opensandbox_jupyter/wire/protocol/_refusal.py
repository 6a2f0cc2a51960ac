"""What an operation that a protocol lacks answers."""

from __future__ import annotations

from typing import NoReturn

from opensandbox_jupyter.exceptions import UnsupportedOperationException

__all__ = ["Refusal"]


class Refusal:
    """Refuses what is not overridden."""

    name = "this protocol"

    def _lacks(self, feature: str) -> NoReturn:
        raise UnsupportedOperationException(feature, self.name)
