"""Write the blocking SDK, ``opensandbox_jupyter/sync/``, from the async one.

``make_sync.py`` writes it; ``make_sync.py --check`` fails when what is committed is not what would
be written, which ``make check`` runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import fill

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
    "pools.config",
    "pools.disposal",
    "pools.keeper",
    "pools.making",
    "pools.manager",
    "pools.memory",
    "pools.redis",
    "pools.sandbox_pool",
    "pools.stores",
    "ports",
    "pty",
    "sandbox",
    "transfers",
    "watching",
)

BANNER = "Generated from ``{}`` by ``scripts/make_sync.py``: change that file, ``make generate``."
INIT = '''"""The blocking SDK, generated from the async one."""

from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.sync.manager import SandboxManagerSync
from opensandbox_jupyter.sync.sandbox import SandboxSync

if TYPE_CHECKING:
    from opensandbox_jupyter.sync.pool import SandboxPoolSync

__all__ = ["SandboxManagerSync", "SandboxPoolSync", "SandboxSync"]


def __getattr__(name: str) -> Any:
    if name != "SandboxPoolSync":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from opensandbox_jupyter.sync.pool import SandboxPoolSync

    return SandboxPoolSync
'''
POOL = '''"""Pools of warm sandboxes, blocking."""

from opensandbox_jupyter.sync.pools.sandbox_pool import SandboxPoolSync

__all__ = ["SandboxPoolSync"]
'''
POOLS = '''"""Pools of warm sandboxes, blocking, generated from the async ones."""
'''
BY_HAND = {"__init__": INIT, "pool": POOL, "pools.__init__": POOLS}
NAMES_IN_TEXTS = {
    "AsyncPoolConfig": "PoolConfig",
    "AsyncPoolStateStore": "PoolStateStore",
    "AsyncPooledSandboxCreator": "PooledSandboxCreator",
    "AsyncRedisPoolStateStore": "RedisPoolStateStore",
    "ConnectionConfig": "ConnectionConfigSync",
    "InMemoryAsyncPoolStateStore": "InMemoryPoolStateStore",
    "Sandbox": "SandboxSync",
    "SandboxManager": "SandboxManagerSync",
    "SandboxPoolAsync": "SandboxPoolSync",
    "SandboxPoolManagerAsync": "SandboxPoolManagerSync",
    "reap_expired_idle_with_min_ttl_async": "reap_expired_idle_with_min_ttl",
    "try_take_idle_with_min_ttl_async": "try_take_idle_with_min_ttl",
}
NAMES = {
    **NAMES_IN_TEXTS,
    "AsyncGenerator": "Generator",
    "AsyncIterable[bytes] |": "",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "AsyncTransport": "BlockingTransport",
    "Awaitable[None] | None": "None",
    "Awaitable[None]": "None",
    "Awaitable[bool] | bool": "bool",
    "Awaitable[SandboxManagerSync]": "SandboxManagerSync",
    "Awaitable[bool]": "bool",
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
    (r"transport\.(socket_|workers_)?aio\b", r"transport.\1blocking"),
    (r"redis\.asyncio import", "redis import"),
    (rf"(opensandbox_jupyter)\.({'|'.join(map(re.escape, MODULES))}) import", r"\1.sync.\2 import"),
]
TEXT = re.compile(r'"""[\s\S]*?"""|"[^"\n]*"')


def blocking(name: str) -> str:
    """Return the blocking twin of module ``name``."""
    source = place(PACKAGE, name).read_text(encoding="utf-8")
    doc, code = re.match(r'"""(.*?)"""\n(.*)', source, re.DOTALL).groups()
    pieces, end = [], 0
    for text in TEXT.finditer(code):
        pieces.append(rewritten(code[end : text.start()], NAMES))
        pieces.append(
            rewritten(text.group(), NAMES if text.group().strip('"') in NAMES else NAMES_IN_TEXTS)
        )
        end = text.end()
    pieces.append(rewritten(code[end:], NAMES))
    banner = fill(BANNER.format(place(Path(), name)), width=100, break_on_hyphens=False)
    return formatted(f'"""{doc}\n\n{banner}\n"""\n' + "".join(pieces))


def place(folder: Path, name: str) -> Path:
    """Return where module ``name`` lies below ``folder``."""
    return folder.joinpath(*name.split(".")).with_suffix(".py")


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
    texts |= {name: formatted(text) for name, text in BY_HAND.items()}
    folder = PACKAGE / "sync"
    paths = {place(folder, name): text for name, text in texts.items()}
    stale = [
        path
        for path, text in paths.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    strangers = {*folder.rglob("*.py")} - {*paths}
    if check:
        for path in [*stale, *strangers]:
            print(f"{path.relative_to(PACKAGE)} is not what would be written: run make generate")
        return bool(stale or strangers)
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(paths[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
