"""What the two programs say to each other about requests that reached nobody."""

from __future__ import annotations

__all__ = ["UNREACHED"]

UNREACHED = "x-execd-unreached"
"""A header on execd's own 502, so that it is told from a 502 of the server that was asked for."""
