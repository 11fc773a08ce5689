"""One client of a play's events as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

The frames are those of the socket, the machinery beneath as well; the client's part of resuming is the browser's.
"""

import asyncio
from collections.abc import Sequence

import structlog
from aiohttp import WSCloseCode, web

from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import Unauthorized, Unavailable
from services.gateway.closing import close_or_cut
from services.gateway.following import Ended, FellBehind, Follower, StillHolds, Wish
from services.gateway.frames import LAST_TYPES, CommitFrames, Frame, end_of

# How long a client waits before it comes back; a hint to it, in its own unit.
RECONNECT_MS = 1_000
# A write that takes longer is to a client that reads nothing.
WRITE_S_MAX = 30.0
HEARTBEAT_S_MAX = 5.0

log = structlog.get_logger(__name__)


def event_text(frame: Frame, sequence: str) -> bytes:
    """Return a frame as an event; `sequence` is a JSON value, and its text is the event's id."""
    return f"id: {sequence.strip(chr(34))}\nevent: {frame.type}\ndata: {frame.text(sequence)}\n\n".encode()


def comment_text(words: str) -> bytes:
    """Return a line that clients pass over and people read."""
    return f": {words}\n\n".encode()


class EventStream:
    """Sends one client the frames of a play, up to its last one.

    `newest` is the stream sequence of the play's newest commit when the client came: an end before it was retried.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        wish: Wish,
        response: web.StreamResponse,
        *,
        newest: int,
        still_holds: StillHolds,
    ) -> None:
        self._clock = clock
        self._response = response
        self._still_holds = still_holds
        self._newest = newest
        self._follower = Follower(bus, wish, self._send)
        # A whole event at once: a heartbeat never comes in the middle of one.
        self._writing = asyncio.Lock()
        self._writing_since_s = 0.0
        self._told_all = False
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        # On its feed before there is a connection: nothing that happens in between is missed.
        self._connected = False
        self.gone = asyncio.Event()

    async def serve(self, request: web.BaseRequest, positions: Sequence[int]) -> None:
        """Serve the client until the play's end; `positions` is where the streams stand."""
        self._connected = True
        self._follower.start(positions)
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait((writer, self._ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await close_or_cut(request, self._close())
            self.gone.set()

    def offer(self, found: CommitFrames) -> None:
        """Take a commit's frames from the feed; a client that does not keep up is sent away."""
        if self._ended.done():
            return
        try:
            self._follower.offer(found)
        except FellBehind as place:
            self.end(WSCloseCode.TRY_AGAIN_LATER, f"too slow: reconnect with Last-Event-ID {place}")

    def fall_behind(self) -> None:
        """Go back to the stream: live messages may have been missed."""
        self._follower.fall_behind()

    async def keep_alive(self) -> None:
        """Send a comment; end when the client does not read, or the credential holds no longer."""
        if not self._connected:
            return
        if self._writing.locked():
            if self._clock.monotonic_s() - self._writing_since_s > WRITE_S_MAX:
                self.end(WSCloseCode.GOING_AWAY, "too slow: reconnect")
            return
        try:
            async with asyncio.timeout(HEARTBEAT_S_MAX):
                await self._still_holds()
                await self._put(comment_text("alive"))
        except Unauthorized as error:
            self.end(WSCloseCode.POLICY_VIOLATION, error.message)
        except ConnectionError:
            self.end(WSCloseCode.GOING_AWAY, "the client is gone")
        except (Unavailable, TimeoutError) as error:
            log.debug("stream_not_kept_alive", reason=str(error))

    def end(self, code: int, reason: str) -> None:
        """End the stream and say why in a comment. The first call counts; codes are the socket's."""
        if not self._ended.done():
            self._ended.set_result(Ended(code, reason))

    async def _write(self) -> None:
        try:
            await self._put(f"retry: {RECONNECT_MS}\n\n".encode())
            await self._follower.follow()
        except ConnectionError:
            return
        except Exception:
            log.exception("stream_crashed")
            self.end(WSCloseCode.INTERNAL_ERROR, "something went wrong on our side: reconnect")

    async def _send(self, frame: Frame, sequence: str) -> None:
        if self._told_all:
            return
        await self._put(event_text(frame, sequence))
        if frame.type in LAST_TYPES and frame.position > end_of(self._newest - 1):
            self._told_all = True
            self.end(WSCloseCode.OK, "the play has ended")

    async def _put(self, text: bytes) -> None:
        async with self._writing:
            self._writing_since_s = self._clock.monotonic_s()
            await self._response.write(text)

    async def _close(self) -> None:
        if self._ended.done():
            await self._response.write(comment_text(self._ended.result().reason))
        await self._response.write_eof()
