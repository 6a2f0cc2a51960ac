"""The portal: a loop that works while its caller does something else."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import multiprocessing
import threading

import pytest

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.portal import Portal, get_portal


@pytest.fixture
def portal() -> Portal:
    return get_portal()


def test_call_returns_results_and_raises_errors(portal: Portal) -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ValueError("no")

    async def time_out() -> None:
        raise TimeoutError("mine")

    assert portal.call(answer()) == 42
    with pytest.raises(ValueError, match="no"):
        portal.call(fail())
    with pytest.raises(TimeoutError, match="mine"):
        portal.call(time_out())


def test_an_interrupt_cancels_the_work_and_waits_for_its_clean_up(portal: Portal) -> None:
    cleaned = []

    async def work() -> None:
        threading.Timer(0.1, _thread.interrupt_main).start()
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.3)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        portal.call(work())

    assert cleaned == [True]


def test_a_portal_does_not_wait_for_itself(portal: Portal) -> None:
    async def inner() -> None: ...

    async def outer() -> None:
        portal.call(inner())

    with pytest.raises(SandboxException, match="await"):
        portal.call(outer())


def test_the_work_belongs_to_no_cell(portal: Portal) -> None:
    cell = contextvars.ContextVar("cell", default="none")

    async def look() -> str:
        return cell.get()

    cell.set("first")
    assert portal.call(look()) == "none"


def test_closing_cancels_what_runs() -> None:
    portal = Portal()
    ended = threading.Event()
    started = threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    portal.submit(work())
    started.wait()
    portal.close()

    assert ended.is_set()


def _use_portal(results: multiprocessing.Queue[int]) -> None:
    async def answer() -> int:
        return 7

    results.put(get_portal().call(answer()))


def test_a_forked_child_gets_a_portal_of_its_own(portal: Portal) -> None:
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=_use_portal, args=(results,))
    child.start()

    assert results.get(timeout=20) == 7
    child.join()
