"""Spans, for those who ask for them, where OpenTelemetry is installed."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import pytest

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync, Sandbox, SandboxSync
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxApiException

SECRET = "sk-very-secret"


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
