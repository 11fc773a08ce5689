"""One trace from the HTTP request to the projection, exported over OTLP to a real receiver."""

from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.api import Api
from tests.fixtures.system import running_system
from tests.waiting import eventually

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


class Receiver:
    """An OTLP/HTTP endpoint that keeps the spans it gets."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return web.Response()

    def of_trace(self, trace_id: str) -> dict[str, Any]:
        """Return the spans of one trace by name."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


async def test_one_trace_leads_from_the_request_over_play_and_steps_to_the_projection() -> None:
    """The caller's traceparent is continued by every service that has a hand in the play."""
    wanted = {"POST /api/flows/{id}/run", "play start", "step var", "project play"}
    async with Receiver() as receiver:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with running_system(environ=told) as system:
            async with Api.logged_in(system) as api:
                flow = await api.create_flow("Traced", {"ref": "one", "appId": "var", "args": {"values": {}}})
                headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
                answer = await api.call("POST", f"/api/flows/{flow['id']}/run?wait=60", {}, headers=headers)
                assert answer.json["state"] == "DONE", answer

                async def complete() -> bool:
                    return wanted <= set(receiver.of_trace(TRACE_ID))

                await eventually(complete)
    spans = receiver.of_trace(TRACE_ID)
    request, play = spans["POST /api/flows/{id}/run"], spans["play start"]
    assert request.parent_span_id.hex() == PARENT_ID
    assert play.parent_span_id == request.span_id
    assert spans["step var"].parent_span_id == play.span_id
    assert spans["project play"].parent_span_id == play.span_id
