"""How a run stands: its play, and how far its steps are (spec flow-like section 8.1)."""

import msgspec

from libs.common.messages.play import TERMINAL
from libs.common.messages.query import ListPlayLayers
from libs.common.messages.views import PlayLayerView, PlayView
from services.gateway.flow_like.launches import JOB_PREFIX, length_of, start_of
from services.gateway.flow_like.run_answers import RunShown
from services.gateway.flow_like.run_rights import app_of
from services.gateway.flow_like.statuses import run_status
from services.gateway.parts import Parts

WHOLE = 100
# What runs that were started elsewhere count as.
DEFAULT_MODE = "async"
_BUSY = frozenset({"RUN", "WAIT", "DEFERRED"})


class _Rows(msgspec.Struct, frozen=True):
    data: list[PlayLayerView]


class RunRecords:
    """Tells how runs stand."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def shown(self, company_id: str, play: PlayView) -> RunShown:
        """Return a play as a run."""
        progress, step = await self._progress(company_id, play)
        status = run_status(play.state, play.error_code)
        key = self._parts.plays.key(company_id, play.flow_id, play.id)
        start = await start_of(self._parts, key)
        return RunShown(
            run_id=play.id,
            job_id=f"{JOB_PREFIX}{play.id}",
            app_id=await app_of(self._parts, company_id, play.flow_id),
            board_id=play.flow_id,
            event_id=None,
            status=status,
            mode=(start.mode if start is not None else "") or DEFAULT_MODE,
            progress=progress,
            current_step=step,
            error=play.error,
            input_payload_len=length_of(play.args),
            output_payload_len=length_of(play.out),
            output=play.out,
            started_at=None if status == "pending" else play.started_at,
            completed_at=play.completed_at or play.failed_at,
            created_at=play.created_at,
            id=play.id,
            result=play.out,
        )

    async def _progress(self, company_id: str, play: PlayView) -> tuple[int, str | None]:
        """Return how many of a hundred parts are done, and the step that runs now."""
        if play.state in TERMINAL and play.state != "FAIL":
            return WHOLE, None
        wish = ListPlayLayers(company_id=company_id, play_id=play.id)
        rows = (await self._parts.store.ask("play", wish)).decode(_Rows).data
        # Each step counts once, however many items a loop runs it for.
        plain = [row for row in rows if row.iteration is None]
        done = sum(1 for row in plain if row.state in TERMINAL)
        flow = await self._steps_of(company_id, play)
        busy = next((row.ref for row in plain if row.state in _BUSY), None)
        return min(done * WHOLE // max(flow, done, 1), WHOLE), busy

    async def _steps_of(self, company_id: str, play: PlayView) -> int:
        key = self._parts.plays.key(company_id, play.flow_id, play.id)
        start = await start_of(self._parts, key)
        return 0 if start is None else len(await self._parts.plays.layers(start.definition))
