"""What happens to the plays of a call while it waits, in a few words each, on its way to the caller."""

import asyncio
from collections.abc import Awaitable, Callable

from libs.common import codec
from libs.common.messages import play as m
from services.gateway.live import Test

NEWS_MAX = 256
# Tells the caller what has just happened.
Report = Callable[[str], Awaitable[None]]


class News:
    """The news of one call; old ones give way when nobody takes them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue(NEWS_MAX)

    def of(self, play_id: str) -> Test:
        """Return the test that waits for the end of a play, and notes what comes before it."""
        told = b""

        def ended(state: str, data: bytes) -> bool:
            nonlocal told
            # The last commit is offered again by whoever looks for lost ones.
            if data != told:
                told = data
                for event in codec.known_part(data, sequence=0)[0].events:
                    self._note(play_id, event)
            return state in m.TERMINAL

        return ended

    async def tell(self, report: Report) -> None:
        """Report for ever."""
        while True:
            await report(await self._queue.get())

    def _note(self, play_id: str, event: m.PlayEvent) -> None:
        said = _said(event)
        if said is None:
            return
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(f"play {play_id}: {said}")


def _said(event: m.PlayEvent) -> str | None:
    match event:
        case m.PlayStarted():
            return "started"
        case m.LayerStarted(ref=ref):
            return f"{ref} runs"
        case m.LayerWaiting(ref=ref, kind="approval"):
            return f"{ref} waits for an approval"
        case m.LayerWaiting(ref=ref):
            return f"{ref} waits"
        case m.ApprovalDecided(ref=ref, decision=decision):
            return f"{ref} was {decision}"
        case m.LayerRetrying(ref=ref, attempt=attempt):
            return f"{ref} failed in attempt {attempt} and is tried again"
        case m.LayerCompleted(ref=ref, state=state):
            return f"{ref} {state}"
        case m.LayerFailed(ref=ref):
            return f"{ref} FAIL"
        case _:
            return None
