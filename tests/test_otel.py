"""Events as OpenTelemetry sees them, with the real SDK."""

import subprocess
import sys
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from conftest import REFUSAL, Server, credentials, failure, loaded_anew, wait_for_sign_ins
from enkash_auth import TokenProvider
from enkash_auth.errors import EnkashAuthError
from enkash_auth.events import Event
from enkash_auth.otel import Telemetry


class Seen:
    """A service's SDK, and a provider with the hook."""

    def __init__(self, server: Server) -> None:
        self.reader, self.exporter, self.tracers = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(meter_provider=MeterProvider([self.reader]), tracer_provider=self.tracers)
        self.provider = TokenProvider(credentials(), transport=server.transport, on_event=self.telemetry)

    def spans(self) -> tuple[Any, ...]:
        wait_for_sign_ins()
        return self.exporter.get_finished_spans()

    def metrics(self) -> dict[str, list[Any]]:
        wait_for_sign_ins()
        data: Any = self.reader.get_metrics_data()
        ((scope,),) = (resource.scope_metrics for resource in data.resource_metrics)
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def seen(server: Server) -> Seen:
    return Seen(server)


def test_a_grant_is_one_span_below_its_callers(seen: Seen) -> None:
    with seen.tracers.get_tracer("service").start_as_current_span("call") as call:
        seen.provider.token()
        wait_for_sign_ins()
    grant, _ = seen.spans()
    assert (grant.name, grant.parent.span_id) == ("enkash_auth.grant", call.get_span_context().span_id)
    assert grant.start_time <= grant.end_time and grant.status.is_unset


@pytest.mark.parametrize(
    ("answer", "error"), [(REFUSAL, "400"), (httpx.Response(429, headers={"Retry-After": "60"}), "unavailable")]
)
def test_a_failure_marks_its_span(server: Server, seen: Seen, answer: httpx.Response, error: str) -> None:
    server.answer = lambda _: answer
    failure(seen.provider, EnkashAuthError)
    (span,) = seen.spans()
    assert (span.status.is_ok, span.attributes["error.type"]) == (False, error)


def test_events_are_counted_and_grants_measured_and_no_secret_is_among_them(server: Server, seen: Seen) -> None:
    seen.provider.invalidate(seen.provider.token())
    server.answer = lambda _: httpx.Response(400, json={"error": "canary", "error_description": "canary"})
    failure(seen.provider)
    metrics, spans = seen.metrics(), seen.spans()
    counted = {point.attributes["enkash_auth.event"]: point.value for point in metrics["enkash_auth.events"]}
    assert counted == {"issued": 1, "invalidated": 1, "refused": 1}
    assert {point.count for point in metrics["enkash_auth.grant.duration"]} == {1}
    assert {point.attributes["server.address"] for points in metrics.values() for point in points} == {"token.example"}
    assert len(spans) == 2
    assert "canary" not in "".join(span.to_json() for span in spans) + str(metrics)


@pytest.mark.parametrize("kind", ["served_stale", "invalidated", "source_failed", "store_down", "store_back"])
def test_what_is_no_sign_in_of_its_own_is_counted_only(seen: Seen, kind: Any) -> None:
    seen.telemetry(Event(kind, "token.example"))
    assert [*seen.metrics()] == ["enkash_auth.events"]
    assert seen.spans() == ()


@pytest.mark.once
def test_only_the_extra_needs_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; import enkash_auth"
    subprocess.run([sys.executable, "-c", script], check=True)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"the extra enkash-auth\[otel\]"):
        loaded_anew("enkash_auth.otel")
