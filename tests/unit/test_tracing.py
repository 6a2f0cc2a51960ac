"""Spans, for those who ask for them, where OpenTelemetry is installed."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync, Sandbox, SandboxSync
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException
from opensandbox_jupyter.models.sandboxes import SandboxImageSpec
from opensandbox_jupyter.pool import (
    InMemoryAsyncPoolStateStore,
    InMemoryPoolStateStore,
    PoolCreationSpec,
    SandboxPoolAsync,
    SandboxPoolSync,
)

SECRET = "sk-very-secret"
MOMENT = "2030-01-01T00:00:00Z"


def answer(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/endpoints/44772"):
        return httpx.Response(200, json={"endpoint": "sandbox:1", "headers": {"T": SECRET}})
    if request.url.path == "/metrics":
        return httpx.Response(404, json={"code": "NO", "message": "none"})
    return httpx.Response(200)


def config(kind: Any) -> Any:
    return kind(
        domain="h:8", api_key=SECRET, enable_tracing=True, transport=httpx.MockTransport(answer)
    )


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


async def test_each_call_is_a_span_that_tells_no_secret(spans: Any) -> None:
    sandbox = await Sandbox.connect("a", config(ConnectionConfig))
    with pytest.raises(SandboxApiException):
        await sandbox.get_metrics()

    assert_told(spans)


def test_the_same_blocking(spans: Any) -> None:
    sandbox = SandboxSync.connect("a", config(ConnectionConfigSync))
    with pytest.raises(SandboxApiException):
        sandbox.get_metrics()

    assert_told(spans)


def assert_told(spans: Any) -> None:
    found = spans.get_finished_spans()
    assert [one.name for one in found] == ["opensandbox.get_endpoint", "opensandbox.get_metrics"]
    first, last = (dict(one.attributes) for one in found)
    assert (first["server.address"], first["server.port"]) == ("h", 8)
    assert first["opensandbox.peer"] == "server"
    assert first["http.response.status_code"] == 200
    assert last["error.type"] == "404"
    assert not found[1].status.is_ok
    assert SECRET not in "".join(one.to_json() for one in found)


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)

    with pytest.raises(InvalidArgumentException, match="tracing"):
        SandboxSync.connect("a", config(ConnectionConfigSync))


def pool_answer(request: httpx.Request) -> httpx.Response:
    if request.method == "POST" and request.url.path.endswith("/sandboxes"):
        status = {"state": "Running"}
        return httpx.Response(202, json={"id": "a", "status": status, "createdAt": MOMENT})
    if request.url.path.endswith("/renew-expiration"):
        return httpx.Response(200, json={"expiresAt": MOMENT})
    return answer(request)


def pool_of(kind: Any, config_kind: Any, store: Any, **options: Any) -> Any:
    connection = config_kind(
        domain="h:8",
        api_key=SECRET,
        enable_tracing=options.pop("enable_tracing", True),
        transport=httpx.MockTransport(pool_answer),
    )
    return kind(
        pool_name="p",
        owner_id="o",
        max_idle=1,
        state_store=store(),
        connection_config=connection,
        creation_spec=PoolCreationSpec(SandboxImageSpec("i")),
        warmup_health_check_polling_interval=timedelta(milliseconds=1),
        **options,
    )


def pool_spans(spans: Any) -> dict[str, Any]:
    return {one.name: one for one in spans.get_finished_spans() if one.name.startswith("pool.")}


def hooks() -> dict[str, Any]:
    """Return what prepares a sandbox, and a check that says yes the second time."""
    said = iter([False, True])
    return {
        "warmup_sandbox_preparer": lambda _: None,
        "warmup_post_prepare_health_check": lambda _: next(said),
    }


async def test_each_warm_up_is_a_span_with_its_phases(spans: Any) -> None:
    pool = pool_of(SandboxPoolAsync, ConnectionConfig, InMemoryAsyncPoolStateStore, **hooks())
    async with pool:
        while "pool.warmup" not in pool_spans(spans):
            await asyncio.sleep(0.01)

    assert_warm_up_told(spans)


def test_the_same_of_a_blocking_pool(spans: Any) -> None:
    pool = pool_of(SandboxPoolSync, ConnectionConfigSync, InMemoryPoolStateStore, **hooks())
    with pool:
        while "pool.warmup" not in pool_spans(spans):
            time.sleep(0.01)

    assert_warm_up_told(spans)


def assert_warm_up_told(spans: Any) -> None:
    found = pool_spans(spans)
    phases = ("create", "readiness", "prepare", "post_prepare_readiness", "renew", "commit")
    assert [*found] == [*(f"pool.warmup.{phase}" for phase in phases), "pool.warmup"]
    root = found.pop("pool.warmup")
    assert dict(root.attributes) == {
        "pool.name": "p",
        "pool.owner": "o",
        "pool.run.generation": 1,
        "pool.leader.epoch": 1,
        "sandbox.image": "i",
        "sandbox.id": "a",
        "warmup.stage": "commit",
        "warmup.result": "success",
    }
    assert root.status.is_ok
    for span in found.values():
        assert span.parent.span_id == root.context.span_id
        assert span.attributes["warmup.result"] == "success"
    checks = dict(found["pool.warmup.post_prepare_readiness"].attributes)
    assert checks["warmup.health.attempt_count"] == 2
    assert (checks["warmup.health.false_count"], checks["warmup.health.exception_count"]) == (1, 0)
    create = found["pool.warmup.create"]
    calls = {one.name: one for one in spans.get_finished_spans()}
    assert calls["opensandbox.create_sandbox"].parent.span_id == create.context.span_id


async def test_a_warm_up_that_fails_tells_where_and_what_kind(spans: Any) -> None:
    def prepare(_: Any) -> None:
        raise ValueError(SECRET)

    pool = pool_of(
        SandboxPoolAsync,
        ConnectionConfig,
        InMemoryAsyncPoolStateStore,
        warmup_sandbox_preparer=prepare,
    )
    async with pool:
        while "pool.warmup" not in pool_spans(spans):
            await asyncio.sleep(0.01)

    found = pool_spans(spans)
    root = dict(found["pool.warmup"].attributes)
    assert (root["warmup.stage"], root["warmup.result"]) == ("prepare", "failure")
    assert root["warmup.reason"] == "prepare_failed"
    assert (root["warmup.error.type"], root["warmup.error.category"]) == ("ValueError", "callback")
    assert found["pool.warmup.prepare"].attributes["warmup.result"] == "failure"
    assert not found["pool.warmup"].status.is_ok
    assert SECRET not in "".join(one.to_json() for one in spans.get_finished_spans())


async def test_a_warm_up_that_is_given_up_says_so(spans: Any) -> None:
    begun = asyncio.Event()

    async def prepare(_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    pool = pool_of(
        SandboxPoolAsync,
        ConnectionConfig,
        InMemoryAsyncPoolStateStore,
        warmup_sandbox_preparer=prepare,
    )
    async with pool:
        await begun.wait()
        await pool.shutdown(graceful=False)

    root = dict(pool_spans(spans)["pool.warmup"].attributes)
    assert (root["warmup.stage"], root["warmup.result"]) == ("prepare", "cancelled")


async def test_a_pool_makes_no_spans_unasked(spans: Any) -> None:
    pool = pool_of(
        SandboxPoolAsync, ConnectionConfig, InMemoryAsyncPoolStateStore, enable_tracing=False
    )
    async with pool:
        while (await pool.snapshot()).idle_count < 1:
            await asyncio.sleep(0.01)

    assert spans.get_finished_spans() == ()
