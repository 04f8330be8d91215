"""Events as OpenTelemetry metrics and spans (extra `[otel]`): `TokenProvider(credentials, on_event=Telemetry())`."""

from time import time_ns
from typing import TYPE_CHECKING

from .events import Event

try:
    from opentelemetry import metrics, trace
except ImportError as missing:  # pragma: no cover - tested in a process without it
    raise ImportError("enkash_auth.otel needs the extra enkash-auth[otel]: install it") from missing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_NO_GRANT = ("served_stale", "invalidated", "source_failed", "store_down", "store_back")


class Telemetry:
    """An `on_event` function: counts events, measures sign-ins in seconds, creates one span per sign-in.

    Without arguments the service's global providers are used. The parent of a span is the span of the caller that
    started the sign-in. Names follow OpenTelemetry's semantic conventions; no attribute holds a secret.
    """

    def __init__(
        self, *, meter_provider: "MeterProvider | None" = None, tracer_provider: "TracerProvider | None" = None
    ) -> None:
        meter = metrics.get_meter("enkash_auth", meter_provider=meter_provider)
        self._tracer = trace.get_tracer("enkash_auth", tracer_provider=tracer_provider)
        self._events = meter.create_counter("enkash_auth.events", "{event}", "Events of the token, by kind.")
        self._duration = meter.create_histogram("enkash_auth.grant.duration", "s", "Duration of a sign-in.")

    def __call__(self, event: Event) -> None:
        """Record one event."""
        kind = {"enkash_auth.event": event.kind, "server.address": event.host}
        self._events.add(1, kind)
        if event.kind in _NO_GRANT:
            return
        failed = event.kind in ("refused", "unavailable")
        error = {"error.type": str(event.status or "unavailable")} if failed else {}
        self._duration.record(event.seconds, kind | error)
        end = time_ns()
        span = self._tracer.start_span(
            "enkash_auth.grant",
            kind=trace.SpanKind.CLIENT,
            attributes={**kind, **error, "enkash_auth.requests": event.requests},
            start_time=end - int(event.seconds * 1e9),
        )
        if failed:
            span.set_status(trace.StatusCode.ERROR, event.reason or event.error or str(event.status))
        span.end(end)
