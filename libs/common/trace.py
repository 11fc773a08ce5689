"""Tracing: OpenTelemetry spans when an OTLP endpoint is configured, the W3C `traceparent` carried through always."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace as otel
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from libs.common import ids

_propagator = TraceContextTextMapPropagator()
_current: ContextVar[str] = ContextVar("traceparent", default="")
_provider: Any = None
_NO_SPAN: AbstractContextManager[Span] = nullcontext(otel.INVALID_SPAN)


def configure(*, service: str, instance: str, endpoint: str) -> None:
    """Export spans over OTLP/HTTP to `endpoint`; without one, spans cost nothing and only the ids travel."""
    global _provider  # noqa: PLW0603 - the provider of a process is set once, at its start
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"headrace-{service}", "service.instance.id": instance})
    _provider = TracerProvider(resource=resource)
    target = endpoint if endpoint.rstrip("/").endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=target)))
    otel.set_tracer_provider(_provider)


def shutdown() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


def enabled() -> bool:
    """Tell whether spans are exported."""
    return _provider is not None


def current_traceparent() -> str:
    """Return the `traceparent` of the work at hand; a new one when there is none."""
    return _current.get() or ids.new_traceparent()


def continued(
    name: str, traceparent: str, *, kind: SpanKind = SpanKind.SERVER, **attributes: Any
) -> AbstractContextManager[Span]:
    """Work inside belongs to the caller's trace; `traceparent` is what the caller sent, or empty."""
    if _provider is None:
        return _Carried(traceparent or ids.new_traceparent())
    return _recorded(name, traceparent, kind, attributes)


class _Carried:
    """Carries the ids and records nothing. A class, for a generator costs three times as much on every request."""

    __slots__ = ("_token", "_traceparent")

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent

    def __enter__(self) -> Span:
        self._token = _current.set(self._traceparent)
        return otel.INVALID_SPAN

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


@contextmanager
def _recorded(name: str, traceparent: str, kind: SpanKind, attributes: dict[str, Any]) -> Iterator[Span]:
    context = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    tracer = otel.get_tracer("headrace")
    with tracer.start_as_current_span(name, context=context, kind=kind, attributes=attributes) as span:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        token = _current.set(carrier["traceparent"])
        try:
            yield span
        finally:
            _current.reset(token)


def span(name: str, **attributes: Any) -> AbstractContextManager[Span]:
    """A step of the work at hand; free when spans are not exported."""
    if _provider is None:
        return _NO_SPAN
    return otel.get_tracer("headrace").start_as_current_span(name, attributes=attributes)
