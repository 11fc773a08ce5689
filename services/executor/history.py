"""A play's history in the log: reading it back, and the definitions that plays are pinned to."""

from collections import OrderedDict
from collections.abc import Mapping

from libs.common.bus import Bus
from libs.common.codec import Commit, decode_commit, decode_message
from libs.common.errors import NotFound
from libs.common.messages.flow import Flow
from libs.common.messages.play import StartPlay
from libs.common.subjects import DEFINITIONS, PlayKey, plays_stream
from services.executor.plan import Plan, Traits, compile_plan

PLANS_CACHED_MAX = 2_048


async def load(bus: Bus, key: PlayKey, *, since: int = 1) -> list[Commit]:
    """Return the commits of a play from stream sequence `since` on, in order."""
    stored = await bus.load(plays_stream(key.shard), key.events, since=since)
    return [decode_commit(message.data, sequence=message.sequence) for message in stored]


async def last_sequence(bus: Bus, key: PlayKey, *, leader: bool = False) -> int:
    """Return the stream sequence of a play's newest commit, 0 when it has none."""
    stored = await bus.last(plays_stream(key.shard), key.events, leader=leader)
    return 0 if stored is None else stored.sequence


async def start_command(bus: Bus, key: PlayKey) -> StartPlay | None:
    """Return the play's start command as the stream holds it, None when there is none (R9)."""
    stored = await bus.last(plays_stream(key.shard), key.command("start"), leader=True)
    if stored is None:
        return None
    command = decode_message(stored.data).data
    return command if isinstance(command, StartPlay) else None


class Plans:
    """Compiled flows by the stream sequence of their definition: immutable, so cached without expiry."""

    def __init__(self, bus: Bus, modules: Mapping[str, Traits]) -> None:
        self._bus = bus
        self._modules = modules
        self._plans: OrderedDict[int, Plan] = OrderedDict()

    async def get(self, definition: int) -> Plan:
        """Return the plan of a stored definition.

        Raises NotFound when the log holds no flow there.
        """
        plan = self._plans.get(definition)
        if plan is not None:
            self._plans.move_to_end(definition)
            return plan
        plan = compile_plan(await self._flow(definition), definition=definition, modules=self._modules)
        self._plans[definition] = plan
        if len(self._plans) > PLANS_CACHED_MAX:
            self._plans.popitem(last=False)
        return plan

    async def _flow(self, definition: int) -> Flow:
        stored = await self._bus.get(DEFINITIONS, definition)
        if stored is None:
            raise NotFound(
                f"the definition at sequence {definition} is not in the log", code="FLOW_NOT_FOUND"
            )
        flow = getattr(decode_message(stored.data).data, "flow", None)
        if not isinstance(flow, Flow):
            raise NotFound(f"sequence {definition} holds no flow", code="FLOW_NOT_FOUND")
        return flow
