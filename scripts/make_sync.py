"""Write the blocking SDK, ``opensandbox_jupyter/sync/``, from the async one.

``make_sync.py`` writes it; ``make_sync.py --check`` fails when what is committed is not what would
be written, which ``make check`` runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "opensandbox_jupyter"
MODULES = (
    "codes",
    "commands",
    "connection",
    "diagnostics",
    "files",
    "following",
    "handle",
    "interpreter",
    "isolation",
    "lifeline",
    "manager",
    "metrics",
    "network",
    "ports",
    "pty",
    "sandbox",
    "transfers",
    "watching",
)

BANNER = '''"""{doc}

Generated from ``{name}.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""
'''
INIT = '''"""The blocking SDK, generated from the async one."""

from opensandbox_jupyter.sync.manager import SandboxManagerSync
from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["SandboxManagerSync", "SandboxSync"]
'''
NAMES_IN_TEXTS = {
    "ConnectionConfig": "ConnectionConfigSync",
    "Sandbox": "SandboxSync",
    "SandboxManager": "SandboxManagerSync",
}
NAMES = {
    **NAMES_IN_TEXTS,
    "AsyncGenerator": "Generator",
    "AsyncIterable[bytes] |": "",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "AsyncTransport": "BlockingTransport",
    "Awaitable[None]": "None",
    "Awaitable[bool] | bool": "bool",
    "CodeInterpreter": "CodeInterpreterSync",
    "Codes": "CodesSync",
    "Commands": "CommandsSync",
    "Connection": "ConnectionSync",
    "CredentialVault": "CredentialVaultSync",
    "Diagnostics": "DiagnosticsSync",
    "Egress": "EgressSync",
    "IsolationService": "IsolationServiceSync",
    "IsolationSession": "IsolationSessionSync",
    "SandboxHandle": "SandboxHandleSync",
    "asynccontextmanager": "contextmanager",
    "Files": "FilesSync",
    "Pty": "PtySync",
    "PtySession": "PtySessionSync",
    "Transfers": "TransfersSync",
    "Metrics": "MetricsSync",
    "aclose": "close",
    "aclosing": "closing",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
}
GRAMMAR = [
    (r"\basync (with|for|def)\b", r"\1"),
    (r"\bawait ", ""),
    (r"transport\.(socket_)?aio\b", r"transport.\1blocking"),
    (rf"(opensandbox_jupyter)\.({'|'.join(MODULES)}) import", r"\1.sync.\2 import"),
]
TEXT = re.compile(r'"""[\s\S]*?"""|"[^"\n]*"')


def blocking(name: str) -> str:
    """Return the blocking twin of module ``name``."""
    source = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    doc, code = re.match(r'"""(.*?)"""\n(.*)', source, re.DOTALL).groups()
    pieces, end = [], 0
    for text in TEXT.finditer(code):
        pieces.append(rewritten(code[end : text.start()], NAMES))
        pieces.append(
            rewritten(text.group(), NAMES if text.group().strip('"') in NAMES else NAMES_IN_TEXTS)
        )
        end = text.end()
    pieces.append(rewritten(code[end:], NAMES))
    return formatted(BANNER.format(doc=doc, name=name) + "".join(pieces))


def rewritten(source: str, names: dict[str, str]) -> str:
    """Return ``source`` with its names and its grammar changed."""
    for old, new in names.items():
        source = re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new, source)
    for pattern, replacement in GRAMMAR:
        source = re.sub(pattern, replacement, source)
    return source


def formatted(source: str) -> str:
    """Return ``source`` with imports sorted and lines laid out by ruff."""
    for command in (
        ["check", "--select=I,F401,RUF022,UP028", "--fix", "--unsafe-fixes", "--quiet", "-"],
        ["format", "-"],
    ):
        source = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--stdin-filename=opensandbox_jupyter/sync/x.py",
            ],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=PACKAGE.parent,
        ).stdout
    return source


def main() -> int:
    """Write or check all modules; return the exit code."""
    check = "--check" in sys.argv[1:]
    texts = {name: blocking(name) for name in MODULES}
    texts["__init__"] = formatted(INIT)
    folder = PACKAGE / "sync"
    stale = [
        n
        for n, text in texts.items()
        if not (p := folder / f"{n}.py").exists() or p.read_text(encoding="utf-8") != text
    ]
    strangers = {p.stem for p in folder.glob("*.py")} - set(texts)
    if check:
        for name in [*stale, *strangers]:
            print(f"sync/{name}.py is not what make_sync.py would write: run make generate")
        return bool(stale or strangers)
    for name in stale:
        (folder / f"{name}.py").write_text(texts[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
