"""How sandboxes are shown: as text and as static HTML, every value escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING

from opensandbox_jupyter.magics.escape import visible
from opensandbox_jupyter.magics.footer import plain_wanted, time_of

if TYPE_CHECKING:
    from opensandbox_jupyter.models.sandboxes import SandboxInfo

__all__ = ["expiry", "facts", "show_card", "show_lines", "show_table"]

_MAX_VALUE = 200
_CAPTION = "text-align:left;font-weight:bold"
_PLAIN = "background:none;padding:0;font-family:inherit;white-space:inherit"
_VOLATILE = frozenset({"id", "expires", "created", "started", "time"})


def show_card(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Display a title and named values."""
    rows = [(name, _clipped(value)) for name, value in rows if value]
    kept = [row for row in rows if not (plain_wanted() and row[0] in _VOLATILE)]
    width = max((len(name) for name, _ in kept), default=0)
    text = [_clipped(title), *(f"  {name:<{width}}  {value}" for name, value in kept)]
    html = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>{_cell(value)}</tr>'
        for name, value in kept
    )
    caption = f'<caption style="{_CAPTION}">{_verbatim(_clipped(title))}</caption>'
    _show("\n".join(text), f"<table>{caption}<tbody>{html}</tbody></table>")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Display a table, or the sentence ``empty`` when it has no rows."""
    if not rows:
        show_lines(empty)
        return
    chosen = [i for i, name in enumerate(columns) if not (plain_wanted() and name in _VOLATILE)]
    table = [[_clipped(str(row[i])) for i in chosen] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(chosen))]
    text = "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    head = "".join(
        f'<th scope="col" style="text-align:left">{escape(cell)}</th>' for cell in table[0]
    )
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table[1:])
    _show(text, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def show_lines(text: str) -> None:
    """Display plain text as it is, harmless."""
    from IPython.display import display  # type: ignore[attr-defined,unused-ignore]

    display({"text/plain": _visible_lines(text)}, raw=True)  # type: ignore[no-untyped-call,unused-ignore]


def _cell(value: str) -> str:
    return f'<td style="text-align:left">{_verbatim(value)}</td>'


def _verbatim(value: str) -> str:
    """Return ``value`` as HTML that shows it as it is: in ``code``, where no formula is typeset."""
    return f'<code style="{_PLAIN}"><bdi>{escape(value)}</bdi></code>' if value else ""


def _visible_lines(text: str) -> str:
    """Spell out controls other than line ends."""
    return "\n".join(visible(line) for line in text.split("\n"))


def facts(info: SandboxInfo, name: str | None = None) -> list[tuple[str, str]]:
    """Return what is worth saying about a sandbox."""
    from opensandbox_jupyter.models.sandboxes import SandboxState

    status = info.status
    return [
        ("name", name or ""),
        ("id", info.id),
        ("state", status.state),
        ("reason", "" if status.state == SandboxState.RUNNING else status.reason or ""),
        ("message", status.message or ""),
        ("image", info.image.image if info.image else info.snapshot_id or ""),
        ("expires", expiry(info)),
        ("metadata", ", ".join(f"{k}={v}" for k, v in sorted(info.metadata.items()) if _told(k))),
    ]


def expiry(info: SandboxInfo) -> str:
    """Return when a sandbox ends: ``in 9 min 58 s``."""
    if info.expires_at is None:
        return "never"
    left = (info.expires_at - datetime.now(timezone.utc)).total_seconds()
    return f"in {time_of(left)}" if left > 0 else "now"


def _told(key: str) -> bool:
    return not key.startswith("jupyter-")


def _clipped(value: str) -> str:
    value = visible(value.replace("\n", " ").replace("\t", " "))
    return value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 1] + "…"


def _show(text: str, html: str) -> None:
    from IPython.display import display  # type: ignore[attr-defined,unused-ignore]

    display({"text/plain": text, "text/html": html}, raw=True)  # type: ignore[no-untyped-call,unused-ignore]
