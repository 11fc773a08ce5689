"""`GET /api/plays/:id/events`: one play's live events as Server-Sent Events (spec flow8 section 16)."""

from aiohttp import web

from libs.common import codec, ids, subjects
from libs.common.errors import Invalid, NotFound, Unavailable
from libs.common.messages.query import GetPlay
from libs.common.messages.views import PlayView
from services.gateway import paging
from services.gateway.cors import Origins
from services.gateway.following import Wish, parse_since
from services.gateway.frames import LAST_TYPES, frames_of
from services.gateway.operations import Answer, header, operation, text
from services.gateway.parts import Parts
from services.gateway.plays import Place
from services.gateway.routing import Call, Route, shown
from services.gateway.streams import EventStream

LAST_EVENT_ID = "Last-Event-ID"
EVENT_STREAM = "text/event-stream"
PLACES = (
    text("since", "The same as Last-Event-ID, for clients that can send no header"),
    header(LAST_EVENT_ID, "The id of the last event that was seen", {"type": "string"}),
)
STREAM_HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # Proxies of the nginx kind would hold events back until they have a page of them.
    "X-Accel-Buffering": "no",
}


class EventRoutes:
    """Streams of events; refuses before the first byte, in the API's error format."""

    def __init__(self, parts: Parts, origins: Origins) -> None:
        self._parts = parts
        self._origins = origins

    def routes(self) -> list[Route]:
        """Return the endpoint."""
        return [Route("GET", "/api/plays/{id}/events", self._stream, "read")]

    @operation(
        str,
        media_type=EVENT_STREAM,
        also=(Answer(204, None, "The play has ended and all of it was told: do not come back"),),
        query=PLACES,
        refusals=(400, 429),
    )
    async def _stream(self, call: Call) -> web.StreamResponse:
        """Stream the events of a play as Server-Sent Events.

        The frames are those of the socket: first what happened already, then what happens, up to the play's end. After
        a break a client goes on with the id of the last event that it saw. The messages are described in the AsyncAPI
        document, `/asyncapi.json`.
        """
        request, caller, feeds = call.request, call.caller, self._parts.feeds
        since = self._since(call)
        if feeds.draining:
            raise Unavailable("this gateway is about to stop")
        place = await self._place(call)
        if place is None or await self._told(place, since):
            # What makes a browser's EventSource stop coming back.
            return web.Response(status=204, headers={"Cache-Control": "no-store"})
        response = web.StreamResponse(headers=STREAM_HEADERS)
        self._origins.allow(request, response, request.path)
        if request.method == "HEAD":
            return response
        wish = Wish(company_id=caller.company_id, play_id=place.key.play_id, since=since)
        stream = EventStream(
            self._parts.bus,
            self._parts.clock,
            wish,
            response,
            newest=place.sequence,
            still_holds=lambda: self._parts.auth.identify(request),
        )
        positions = await feeds.join(caller.company_id, stream)
        try:
            await response.prepare(request)
            await stream.serve(request, positions)
        finally:
            await feeds.leave(caller.company_id, stream)
        return response

    def _since(self, call: Call) -> tuple[int, ...]:
        query, shards = call.request.query, self._parts.config.shards
        given = call.request.headers.get(LAST_EVENT_ID) or paging.text(query, "since")
        if given is None:
            # A play's story is short: whoever names no place gets it from its beginning.
            return (0,) * shards
        try:
            return parse_since(given, shards)
        except Invalid as error:
            raise Invalid(f"{LAST_EVENT_ID} or {error.message}") from error

    async def _place(self, call: Call) -> Place | None:
        """Return where the play is; None when it ended so long ago that the log holds it no longer.

        Raises NotFound when the caller's company has no such play.
        """
        company_id, play_id = call.caller.company_id, call.parameters[0]
        if not ids.is_id(play_id):
            raise NotFound(f"no play {shown(play_id)}", code="PLAY_NOT_FOUND")
        place = await self._parts.plays.find(company_id, play_id)
        if place is None:
            wish = GetPlay(company_id=company_id, play_id=play_id)
            (await self._parts.store.ask("play", wish)).decode(PlayView)
        return place

    async def _told(self, place: Place, since: tuple[int, ...]) -> bool:
        """Tell whether the client has seen the last frame of a play that has ended."""
        if place.state not in subjects.PLAY_STATES_TERMINAL:
            return False
        shard = place.key.shard
        stored = await self._parts.bus.get(subjects.plays_stream(shard), place.sequence)
        if stored is None:
            return False
        frames = frames_of(codec.known_part(stored.data, sequence=stored.sequence)[0], shard=shard).frames
        last = next((frame for frame in frames if frame.type in LAST_TYPES), None)
        return last is not None and last.position <= since[shard]
