"""Events as OpenTelemetry sees them, with the real SDK."""

import subprocess
import sys
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from conftest import REFUSAL, Server, credentials, failure, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth.errors import EnkashAuthError
from enkash_auth.otel import Telemetry


class Seen:
    """A service's SDK, and a provider with the hook."""

    def __init__(self, server: Server) -> None:
        self.reader, self.exporter = InMemoryMetricReader(), InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        telemetry = Telemetry(meter_provider=MeterProvider([self.reader]), tracer_provider=self.tracers)
        self.provider = TokenProvider(credentials(), transport=server.transport, on_event=telemetry)

    def spans(self) -> tuple[ReadableSpan, ...]:
        wait_for_sign_ins()
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, list[Any]]:
        wait_for_sign_ins()
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def seen(server: Server) -> Seen:
    return Seen(server)


def test_a_grant_is_one_span_below_its_callers(seen: Seen) -> None:
    with seen.tracers.get_tracer("service").start_as_current_span("call") as call:
        seen.provider.token()
        wait_for_sign_ins()
    grant, caller = seen.spans()
    assert grant.name == "enkash_auth.grant"
    assert grant.parent is not None
    assert grant.parent.span_id == call.get_span_context().span_id
    assert grant.start_time is not None and caller.start_time is not None
    assert grant.end_time is not None
    assert grant.start_time <= grant.end_time
    assert grant.status.is_unset


@pytest.mark.parametrize(
    ("answer", "error"), [(REFUSAL, "400"), (httpx.Response(429, headers={"Retry-After": "60"}), "unavailable")]
)
def test_a_failure_marks_its_span(server: Server, seen: Seen, answer: httpx.Response, error: str) -> None:
    server.answer = lambda _: answer
    failure(seen.provider, EnkashAuthError)
    (span,) = seen.spans()
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["error.type"] == error


def test_events_are_counted_and_grants_measured(server: Server, seen: Seen) -> None:
    token = seen.provider.token()
    seen.provider.invalidate(token)
    server.answer = lambda _: REFUSAL
    failure(seen.provider)
    metrics = seen.metrics()
    counted = {point.attributes["enkash_auth.event"]: point.value for point in metrics["enkash_auth.events"]}
    assert counted == {"issued": 1, "invalidated": 1, "refused": 1}
    assert {point.count for point in metrics["enkash_auth.grant.duration"]} == {1}
    assert {point.attributes["server.address"] for points in metrics.values() for point in points} == {"token.example"}
    assert len(seen.spans()) == 2


def test_no_telemetry_holds_a_secret(server: Server, seen: Seen) -> None:
    seen.provider.token()
    seen.provider.reset()
    server.answer = lambda _: httpx.Response(400, json={"error": "canary", "error_description": "canary"})
    failure(seen.provider)
    told = "".join(span.to_json() for span in seen.spans()) + str(seen.metrics())
    assert "canary" not in told


@pytest.mark.parametrize(("module", "word"), [("enkash_auth", ""), ("enkash_auth.otel", "the extra enkash-auth[otel]")])
def test_only_the_extra_needs_opentelemetry(module: str, word: str) -> None:
    script = f"import sys; sys.modules['opentelemetry'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert word in done.stderr
    assert (done.returncode == 0) is (word == "")
