"""The house stands as CONTRIBUTING.md draws it: arrows point down, rooms stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "opensandbox_jupyter"
NAME = PACKAGE.name
MODULES = sorted(PACKAGE.rglob("*.py"))

WORDS, WIRE, IO, SDK, FACES = range(5)
FLOORS = {
    "exceptions": WORDS, "constants": WORDS, "retry": WORDS, "models": WORDS,
    "settings": WORDS, "runtime_file": WORDS, "profiles": WORDS, "secrecy": WORDS,
    "wire": WIRE,
    "transport": IO, "config": IO, "portal": IO, "local": IO,
    "sandbox": SDK, "manager": SDK, "commands": SDK, "files": SDK, "metrics": SDK,
    "connection": SDK, "sync": SDK, "codes": SDK, "following": SDK, "lifeline": SDK,
    "interpreter": SDK,
    "code_interpreter": SDK,
    "diagnostics": SDK, "handle": SDK, "network": SDK, "isolation": SDK,
    "local_files": SDK, "transfers": SDK, "watching": SDK,
    "pty": SDK, "ports": SDK, "pools": SDK,
    "pool": SDK, "pool_async": SDK, "pool_manager": SDK, "pool_redis": SDK, "pool_types": SDK,
    "redis_pool_store": SDK, "async_redis_pool_store": SDK,
    "magics": FACES, "cli": FACES, "jupyter_server": FACES,
}  # fmt: skip
BESIDE = {"server": WIRE, "execd": WIRE, "egress": WIRE, "hosting": WIRE}
MAY_KNOW = {("server", "egress")}
HEAVY = {"IPython", "ipywidgets", "tornado", "pydantic", "httpx", "starlette", "uvicorn", "asyncio"}
NOT_ON_FLOOR = {
    WORDS: {"httpx", "asyncio", "starlette", "uvicorn", "IPython", "tornado"},
    WIRE: {"httpx", "asyncio", "starlette", "uvicorn", "IPython", "tornado", "threading", "socket"},
    IO: {"IPython", "tornado", "starlette", "uvicorn"},
    SDK: {"IPython", "tornado", "starlette", "uvicorn", "httpx"},
}


def room(module: Path) -> str:
    """Return the name of the room (first folder or module) that a file belongs to."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(module: Path, *, everywhere: bool) -> Iterator[str]:
    """Yield the dotted names that a module imports, type checking apart."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    hidden = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)
    ]
    if not everywhere:
        hidden += [
            n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    skipped = {id(inner) for outer in hidden for inner in ast.walk(outer)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def own_rooms(module: Path, *, everywhere: bool) -> set[str]:
    """Return the rooms of this package that a module imports."""
    names = (n.split(".") for n in imports(module, everywhere=everywhere))
    return {parts[1] for parts in names if parts[0] == NAME and len(parts) > 1}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_arrows_point_down(module: Path) -> None:
    here = room(module)
    if here == "__init__":
        return
    floor = FLOORS.get(here, BESIDE.get(here))
    assert floor is not None, f"{here} has no floor: give it one in FLOORS"

    for other in own_rooms(module, everywhere=True) - {here, "__version__"}:
        if (here in BESIDE and other == "hosting") or (here, other) in MAY_KNOW:
            continue
        if here in BESIDE:
            assert FLOORS.get(other, FACES) <= WIRE, f"{here} must not know {other}"
        elif other in BESIDE:
            assert floor == FACES, f"{here} must not know {other}"
        else:
            assert FLOORS[other] <= floor, f"{here} must not know {other}: it is above"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_no_face_imports_another_when_it_is_loaded(module: Path) -> None:
    here = room(module)
    if FLOORS.get(here) == FACES:
        others = own_rooms(module, everywhere=False) - {here}
        assert all(FLOORS.get(other) != FACES for other in others)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_floors_use_only_their_own_tools(module: Path) -> None:
    forbidden = NOT_ON_FLOOR.get(FLOORS.get(room(module), FACES), set())
    tops = {name.split(".")[0] for name in imports(module, everywhere=True)}

    assert tops & forbidden == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_rooms_and_functions_stay_small(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _length(node) > 50
    ]

    assert text.count("\n") <= 500
    assert long == []


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body, its signature and docstring apart."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", [NAME, f"{NAME}.transport", f"{NAME}.settings"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()

    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


def test_the_blocking_sdk_is_what_the_generator_writes() -> None:
    script = PACKAGE.parent / "scripts" / "make_sync.py"

    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout
