"""Metrics: those of the sandbox, within its limits."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
from execd_driving import running


async def test_metrics(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    metrics = answer.json()
    assert metrics["cpu_count"] == 2.0
    assert metrics["mem_total_mib"] == 512.0
    assert 0 <= metrics["cpu_used_pct"] <= 100
    assert metrics["mem_used_mib"] > 10
    assert abs(metrics["timestamp"] - time.time() * 1000) < 60_000


async def test_work_is_seen(client: httpx.AsyncClient) -> None:
    await client.get("/metrics")
    body = {"command": "timeout 0.5 sh -c 'while :; do :; done'"}
    _, answer = await asyncio.gather(client.post("/command", json=body), client.get("/metrics"))
    answer = await client.get("/metrics")
    assert answer.json()["cpu_used_pct"] > 10


async def test_a_machine_without_a_limit() -> None:
    with running(memory_bytes=None) as daemon:
        async with daemon.client() as client:
            assert (await client.get("/metrics")).json()["mem_total_mib"] > 100


async def test_watch_sends_one_line_after_another(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/metrics/watch") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        for _ in range(2):
            assert json.loads(await anext(lines))["cpu_count"] == 2.0
