"""What a notebook may draw of what came from a sandbox: plain text, and pictures of pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from opensandbox_jupyter.exceptions import printable

__all__ = ["drawn"]

_MOST = 100_000
_PICTURES = ("image/png", "image/jpeg")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")


def drawn(text: str, results: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a MIME bundle of ``text``, bounded, and of the last picture of each kind.

    HTML, SVG and scripts are hostile and not drawn; so is base64 that is none, which some
    renderers would put into a page as it is.
    """
    if len(text) > _MOST:
        half = _MOST // 2
        text = f"{text[:half]}\n[... {len(text) - _MOST} characters ...]\n{text[-half:]}"
    bundle = {"text/plain": printable(text)}
    for result in results:
        for kind in _PICTURES:
            picture = result.get(kind)
            if isinstance(picture, str) and _BASE64.fullmatch(picture):
                bundle[kind] = picture
    return bundle
