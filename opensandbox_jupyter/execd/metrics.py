"""``/metrics``: what the sandbox uses, which is the sum over the processes that it can see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import psutil
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from opensandbox_jupyter.execd.events import now_ms
from opensandbox_jupyter.execd.requests import settings_of
from opensandbox_jupyter.execd.settings import Settings

__all__ = ["ROUTES", "Meter"]

_MIB = 1024 * 1024
_LEAST = 0.1
_MOST = 60.0
_EVERY = 2.0


class Meter:
    """Measures; processor use is that since the last measure, or over a short while."""

    def __init__(self, settings: Settings) -> None:
        self._cpu_count = settings.cpu_count
        self._memory = settings.memory_bytes or psutil.virtual_memory().total
        self._at = 0.0
        self._used = 0.0
        self._percent = 0.0
        self._turn = asyncio.Lock()

    async def measure(self) -> dict[str, float | int]:
        """Return the metrics: memory in MiB, processor use in percent of what there is."""
        async with self._turn:
            if time.monotonic() - self._at > _MOST:
                self._at, self._used = time.monotonic(), await asyncio.to_thread(_cpu_seconds)
                await asyncio.sleep(_LEAST)
            elapsed = time.monotonic() - self._at
            if elapsed >= _LEAST:
                used = await asyncio.to_thread(_cpu_seconds)
                share = (used - self._used) / (elapsed * self._cpu_count or 1.0)
                self._percent = min(100.0, max(0.0, 100 * share))
                self._at, self._used = self._at + elapsed, used
            memory = await asyncio.to_thread(_memory_bytes)
        return {
            "cpu_count": float(self._cpu_count),
            "cpu_used_pct": self._percent,
            "mem_total_mib": self._memory / _MIB,
            "mem_used_mib": memory / _MIB,
            "timestamp": now_ms(),
        }


def _cpu_seconds() -> float:
    """Return the processor time of all processes, and of their children that have ended."""
    total = 0.0
    for process in psutil.process_iter():
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def _memory_bytes() -> int:
    """Return the memory of all processes; shared pages count once where the system tells."""
    total = 0
    for process in psutil.process_iter():
        try:
            total += _proportional(process.pid) or process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _proportional(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            line = next((line for line in file if line.startswith(b"Pss:")), None)
    except OSError:
        return None
    return int(line.split()[1]) * 1024 if line else None


def _meter(request: Request) -> Meter:
    state = request.app.state
    if not hasattr(state, "meter"):
        state.meter = Meter(settings_of(request))
    meter = state.meter
    assert isinstance(meter, Meter)
    return meter


async def _once(request: Request) -> Response:
    body = msgspec.json.encode(await _meter(request).measure())
    return Response(body, media_type="application/json")


async def _watch(request: Request) -> Response:
    meter = _meter(request)

    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield msgspec.json.encode(await meter.measure()) + b"\n"
            await asyncio.sleep(_EVERY)

    return StreamingResponse(lines(), media_type="text/event-stream")


ROUTES = [Route("/metrics", _once), Route("/metrics/watch", _watch)]
