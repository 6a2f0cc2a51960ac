"""Metadata: its syntax, and the filter of a list, which is encoded twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from opensandbox_jupyter.server.errors import Refusal

__all__ = ["check_labels", "parse_filter"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_RESERVED = "opensandbox.io/"


def check_labels(labels: Mapping[str, str | None], reserved_code: str) -> None:
    """Refuse keys and values that are no labels.

    Raises:
        Refusal: 400, ``reserved_code`` when a key is one of the server's own.
    """
    for key, value in labels.items():
        if key.startswith(_RESERVED):
            raise Refusal(400, reserved_code, f"The metadata key {key!r} is the server's own.")
        domain, slash, name = key.rpartition("/")
        is_domain = len(domain) <= 253 and _DOMAIN.fullmatch(domain) is not None
        if not _NAME.fullmatch(name) or (slash and not is_domain):
            raise _no_label(f"The metadata key {key!r}")
        if value and not _NAME.fullmatch(value):
            raise _no_label(f"The value {value!r} of the metadata key {key!r}")


def parse_filter(text: str) -> dict[str, str]:
    """Return the pairs that every sandbox of a list must have, from the once-decoded ``text``.

    Raises:
        Refusal: 400, it is no query string.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
    except ValueError as error:
        raise Refusal(
            400,
            "INVALID_METADATA_FORMAT",
            "The metadata filter must be a query string such as k1=v1&k2=v2.",
        ) from error
    return dict(pairs)


def _no_label(what: str) -> Refusal:
    return Refusal(
        400,
        "SANDBOX::INVALID_METADATA_LABEL",
        f"{what} is no label: at most 63 letters, digits, '-', '_' and '.', with a letter or a"
        " digit at both ends.",
    )
