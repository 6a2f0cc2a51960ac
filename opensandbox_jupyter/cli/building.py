"""Builds an image: each step runs in a sandbox, whose files are kept when all have succeeded."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path, PurePosixPath

from opensandbox_jupyter.cli.dockerfile import Copy, Dockerfile, Env, Run, Workdir
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException, printable
from opensandbox_jupyter.models.execd import RunCommandOpts
from opensandbox_jupyter.models.execd_sync import ExecutionHandlersSync
from opensandbox_jupyter.models.execution import OutputMessage
from opensandbox_jupyter.runtime_file import places
from opensandbox_jupyter.server.archives import ImageConfig
from opensandbox_jupyter.server.image_store import ImageStore, StoredImage
from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["build"]

_LIFETIME = timedelta(hours=6)
_READY = timedelta(minutes=5)


def build(recipe: Dockerfile, context: Path, name: str) -> StoredImage:
    """Build an image of this user's embedded server and return it. Output is shown as it comes.

    Args:
        recipe: what to do.
        context: the directory that holds what is copied.
        name: what the image shall be called; one that has the name already is replaced.

    Raises:
        InvalidArgumentException: something to copy is not in ``context``, or ``name`` is none.
        SandboxException: a step failed, or the server refused. Nothing is kept.
    """
    where = places()
    store = ImageStore(where.data)
    store.check_name(name)
    below = store.find(recipe.base)
    copies = [_sources(step, context) for step in recipe.steps if isinstance(step, Copy)]
    with _sandbox(recipe.base) as sandbox:
        state = _State(sandbox, below)
        for step in recipe.steps:
            if isinstance(step, Copy):
                state.copy(step, copies.pop(0))
            else:
                state.take(step)
        sandbox.pause()  # nothing changes while the files are kept
        config = ImageConfig(
            env=state.env,
            cwd=state.cwd,
            entrypoint=[*recipe.entrypoint, *recipe.command],
        )
        base = recipe.base if below is None else below.base
        layer = where.data / "sandboxes" / sandbox.id / "root"
        return store.add_tree(layer, name, config, base)


@contextmanager
def _sandbox(base: str) -> Iterator[SandboxSync]:
    sandbox = SandboxSync.create(base, timeout=_LIFETIME, ready_timeout=_READY)
    try:
        yield sandbox
    finally:
        sandbox.destroy()


class _State:
    """The sandbox, and what later steps see of earlier ones."""

    def __init__(self, sandbox: SandboxSync, below: StoredImage | None) -> None:
        self._sandbox = sandbox
        self.env = dict(below.config.env) if below else {}
        self.cwd = below.config.cwd if below else ""

    def take(self, step: Run | Env | Workdir) -> None:
        """Do a step. Raises: SandboxException, with the number of its line."""
        if isinstance(step, Env):
            self.env[step.name] = step.value
        elif isinstance(step, Workdir):
            self.cwd = self._place(step.path)
            self._run(step.line, ["mkdir", "-p", self.cwd], say=False, cwd="/")
        else:
            self._run(step.line, step.command)

    def copy(self, step: Copy, sources: list[Path]) -> None:
        """Copy files. Raises: SandboxException, with the number of the line."""
        print(f"{step.line:4} COPY to {printable(step.target)}", flush=True)
        into = step.target.endswith("/") or len(sources) > 1
        try:
            if step.text is not None:
                place = self._place(step.target)
                self._sandbox.files.write_file(place, step.text, mode=step.mode or 644)
            for source in sources:
                place = self._place(step.target)
                if into and not source.is_dir():
                    place = str(PurePosixPath(place, source.name))
                self._sandbox.files.upload(source, place)
                if step.mode is not None:
                    change = ["chmod", "-R", str(step.mode), place]
                    self._run(step.line, change, say=False)
        except SandboxException as error:
            raise SandboxException(f"line {step.line}: {error.message}", cause=error) from error

    def _run(
        self, line: int, command: str | list[str], *, say: bool = True, cwd: str | None = None
    ) -> None:
        text = command if isinstance(command, str) else shlex.join(command)
        if say:
            first = text.strip().splitlines()[0] if text.strip() else ""
            print(f"{line:4} RUN {printable(first)}", flush=True)
        handlers = ExecutionHandlersSync(
            on_stdout=_show, on_stderr=_show, skip_accumulation=True, in_pieces=True
        )
        opts = RunCommandOpts(envs=dict(self.env), working_directory=cwd or self.cwd or None)
        done = self._sandbox.commands.run(command, opts=opts, handlers=handlers)
        if done.exit_code != 0:
            said = f"exit code {done.exit_code}"
            if done.exit_code is None and done.error is not None:
                said = done.error.value
            raise SandboxException(f"line {line}: the command failed: {said}")

    def _place(self, path: str) -> str:
        return str(PurePosixPath("/", self.cwd or "workspace", path))


def _sources(step: Copy, context: Path) -> list[Path]:
    """Return the files that a step copies, all of them inside ``context``."""
    top, found = context.resolve(), []
    for pattern in step.sources:
        relative = pattern.lstrip("/") or "."
        matches = [context] if relative == "." else sorted(context.glob(relative))
        for path in matches:
            if not path.resolve().is_relative_to(top):
                raise InvalidArgumentException(f"line {step.line}: {pattern!r} leads out")
            found.append(path)
        if not matches:
            raise InvalidArgumentException(f"line {step.line}: there is no {pattern!r} to copy")
    return found


def _show(message: OutputMessage) -> None:
    stream = sys.stderr if message.is_error else sys.stdout
    stream.write(printable(message.text))
    stream.flush()
