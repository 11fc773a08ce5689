"""Starting a board: what jobs, executions and boards share (spec flow-like sections 8.2 and 11.3)."""

from typing import Any, NamedTuple

import msgspec

from libs.common import codec, ids, subjects
from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.app import Bit
from libs.common.messages.play_commands import RunMode, StartPlay
from libs.common.messages.query import GetPlay
from libs.common.messages.views import PlayView
from services.gateway.definitions import Definition
from services.gateway.flow_like.app_rights import must_hold
from services.gateway.flow_like.boards import Boards
from services.gateway.flow_like.poll_tokens import issue
from services.gateway.live import Test
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.routes.run import KEY_CHARS_MAX
from services.gateway.routing import Call, shown
from services.gateway.starts import Begun, Start

IDEMPOTENCY_KEY = "Idempotency-Key"
JOB_PREFIX = "job-"
# Any spelling of how to run, and what it means here. Pools are what our executors are, and so is `local`.
MODES: dict[str, RunMode] = {
    "async": "async", "sync": "sync", "stream": "stream", "isolated": "isolated", "pool": "pool",
    "standard": "pool", "warm": "pool", "local": "pool",
}  # fmt: skip


class Wish(NamedTuple):
    """Which board to run, and how."""

    app_id: str
    board_id: str
    payload: Any = None
    mode: RunMode = "async"
    version: Any = None
    node_id: str | None = None
    event_id: str | None = None
    runtime_variables: dict[str, Any] | None = None


class Launched(NamedTuple):
    """A play that was started, now or by an earlier call with the same key."""

    begun: Begun
    poll_token: str


class Launches:
    """Starts plays of boards for callers of this surface."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._boards = Boards(parts)

    async def start(
        self, call: Call, wish: Wish, *, wait: bool = False, until: Test | None = None
    ) -> Launched:
        """Start a play, or find the one that this `Idempotency-Key` started. Close what `begun` says in the end.

        Raises Invalid, NotFound for an app, board, event or version that is not there, Forbidden when the role in the
        app does not allow it, Refused for a disabled flow.
        """
        parts, company_id = self._parts, call.caller.company_id
        given = call.request.headers.get(IDEMPOTENCY_KEY, "")
        if len(given) > KEY_CHARS_MAX:
            raise Invalid(f"{IDEMPOTENCY_KEY}: expected at most {KEY_CHARS_MAX} characters")
        flow = await self._board(call, wish)
        play_id = ids.derived_id(company_id, flow.id, "job", given) if given else ids.new_id()
        key = parts.plays.key(company_id, flow.id, play_id)
        known = await start_of(parts, key) if given else None
        if known is None and not flow.enabled:
            raise Refused(f"board {flow.id} is disabled", code="FLOW_DISABLED")
        if known is None and given:
            await self._check_forgotten(key)
        start = Start(
            company_id=company_id,
            flow=flow,
            args=args_of(wish.payload),
            trigger="job",
            by=call.caller.user_id,
            play_id=play_id,
            origin=origin_of(call),
            mode=wish.mode,
            idempotency_key=given,
            seed=ids.random_seed(),
        )
        begun = await parts.starts.begin(start, wait=wait, until=until)
        # Of several calls with one key at once the log took one, and its seed counts.
        stored = await start_of(parts, key) if given else None
        seed = start.seed if stored is None else stored.seed
        now_s = int(parts.clock.now().timestamp())
        return Launched(begun, issue(company_id, play_id, seed=seed, now_s=now_s))

    async def _board(self, call: Call, wish: Wish) -> Definition:
        company_id = call.caller.company_id
        if wish.event_id:
            raise NotFound(f"no event {shown(wish.event_id)}")
        if wish.runtime_variables:
            raise Invalid("runtime_variables: boards here have no variables; send values in payload")
        if ids.is_id(wish.app_id):
            await must_hold(self._parts, call, wish.app_id, Bit.EXECUTE_BOARDS)
        flow = await self._boards.find(company_id, wish.app_id, wish.board_id)
        if flow.group_id != wish.app_id:
            await self._check_named(call, flow, wish)
        flow = await self._boards.at_version(company_id, flow, wish.version)
        if wish.node_id:
            await self._boards.check_entry(flow, wish.node_id)
        return flow

    async def _check_named(self, call: Call, flow: Definition, wish: Wish) -> None:
        """Check the caller's role in an app that is named by its name, which strangers learn nothing of."""
        try:
            await must_hold(self._parts, call, flow.group_id or "", Bit.EXECUTE_BOARDS)
        except NotFound as error:
            raise Boards.no_board(wish.app_id, wish.board_id) from error

    async def _check_forgotten(self, key: subjects.PlayKey) -> None:
        """Raise Refused when a play of this key ended so long ago that only the read models know of it."""
        wish = GetPlay(company_id=key.company_id, play_id=key.play_id)
        try:
            await self._parts.store.ask("play", wish)
        except NotFound:
            return
        # Or another call with the same key came in between.
        if await start_of(self._parts, key) is None:
            raise Refused(
                f"{IDEMPOTENCY_KEY}: it started run {key.play_id}, whose history is not kept any more"
            )


def mode_of(given: str, *, stream: bool) -> RunMode:
    """Return how to run. Raises Invalid for words that nobody knows; `stream` tells whether that is one of them."""
    mode = MODES.get(given.lower())
    if mode is None or (mode == "stream" and not stream):
        known = ", ".join(word for word in MODES if stream or word != "stream")
        raise Invalid(f"mode: expected one of {known}")
    return mode


def args_of(payload: Any) -> dict[str, Any]:
    """Return a payload as a play's args: an object is them, anything else stands in `payload`."""
    if payload is None:
        return {}
    return payload if isinstance(payload, dict) else {"payload": payload}


def play_id_of(given: str) -> str:
    """Return the play of a job's or a run's id; both look-ups take both. Raises NotFound when it can be none."""
    play_id = given.removeprefix(JOB_PREFIX)
    if not ids.is_id(play_id):
        raise NotFound(f"there is no run {shown(given)}")
    return play_id


async def start_of(parts: Parts, key: subjects.PlayKey) -> StartPlay | None:
    """Return the command that started a play, None when the log has it no longer; big args stay where they lie."""
    stored = await parts.bus.last(subjects.plays_stream(key.shard), key.command("start"))
    command = None if stored is None else codec.decode_message(stored.data).data
    return command if isinstance(command, StartPlay) else None


async def view_of(parts: Parts, company_id: str, given: str) -> PlayView:
    """Return a play by the id of its job or run. Raises NotFound when this company has none."""
    wish = GetPlay(company_id=company_id, play_id=play_id_of(given))
    try:
        return (await parts.store.ask("play", wish)).decode(PlayView)
    except NotFound as error:
        raise NotFound(f"there is no run {shown(given)}") from error


def length_of(value: Any) -> int:
    """Return the size of a value as JSON, in bytes; 0 for nothing."""
    return 0 if value is None or value == {} else len(msgspec.json.encode(value))
