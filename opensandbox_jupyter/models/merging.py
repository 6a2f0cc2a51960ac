"""Options and handlers of a run, given one by one or together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.durations import Duration, duration, lasting
from opensandbox_jupyter.models.execution import ExecutionHandlers, Handler, OutputMessage

if TYPE_CHECKING:
    from opensandbox_jupyter.models.execd import RunCommandOpts
    from opensandbox_jupyter.models.isolated import IsolatedRunOpts

__all__ = ["merged_handlers", "merged_isolated_opts", "merged_opts"]


def merged_opts(
    opts: RunCommandOpts | None,
    timeout: Duration | None,
    env: Mapping[str, str] | None,
    cwd: str | None,
) -> RunCommandOpts | None:
    """Return ``opts`` with what was given beside them, ``None`` when there are none.

    Raises:
        InvalidArgumentException: when something was given twice.
    """
    given = _given(
        opts,
        timeout=None if timeout is None else duration(timeout),
        envs=None if env is None else dict(env),
        working_directory=cwd,
    )
    if opts is not None or not given:
        return opts and opts.model_copy(update=given)
    from opensandbox_jupyter.models.execd import RunCommandOpts

    return RunCommandOpts(**given)


def merged_isolated_opts(
    opts: IsolatedRunOpts | None, timeout: Duration | None, env: Mapping[str, str] | None
) -> IsolatedRunOpts:
    """Return ``opts`` with what was given beside them; a time limit is rounded up to seconds.

    Raises:
        InvalidArgumentException: when something was given twice.
    """
    from opensandbox_jupyter.models.isolated import IsolatedRunOpts

    given = _given(
        opts,
        timeout_seconds=None if timeout is None else ceil(lasting(timeout).total_seconds()),
        envs=None if env is None else dict(env),
    )
    return (opts or IsolatedRunOpts()).model_copy(update=given)


def _given(opts: object, **beside: object) -> dict[str, Any]:
    """Return what was given beside ``opts``, and not in them."""
    given = {name: value for name, value in beside.items() if value is not None}
    for name in given:
        if opts is not None and getattr(opts, name) is not None:
            raise InvalidArgumentException(f"{name} is given twice: in opts, and beside them.")
    return given


def merged_handlers(
    handlers: ExecutionHandlers | None,
    on_stdout: Handler[OutputMessage] | None,
    on_stderr: Handler[OutputMessage] | None,
) -> ExecutionHandlers | None:
    """Return ``handlers`` with what was given beside them, ``None`` when there are none.

    Raises:
        InvalidArgumentException: when something was given twice.
    """
    beside = {"on_stdout": on_stdout, "on_stderr": on_stderr}
    given: dict[str, Any] = {name: one for name, one in beside.items() if one is not None}
    if not given:
        return handlers
    if handlers is None:
        return ExecutionHandlers(**given)
    for name in given:
        if getattr(handlers, name) is not None:
            raise InvalidArgumentException(f"{name} is given twice: in handlers, and beside them.")
    return replace(handlers, **given)
