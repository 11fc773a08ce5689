"""A play's history in the log: reading it back, and the definitions that plays are pinned to."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from libs.common import snapshots
from libs.common.bus import Bus, Stored
from libs.common.codec import TYPE_NAMES, Commit, UnknownType, decode_commit, decode_message
from libs.common.errors import HeadraceError, NotFound, PayloadLost
from libs.common.messages.flow import Flow
from libs.common.messages.play import PlaySnapshot, Replay, StartPlay
from libs.common.payloads import Payloads
from libs.common.subjects import DEFINITIONS, PlayKey, plays_stream
from services.executor.plan import Plan, Traits, compile_plan
from services.executor.play import BEGINNINGS, Play, evolve_commit, fold
from services.executor.play_snapshot import Base, is_readable, play_of

PLANS_CACHED_MAX = 2_048
# A play with no more commits than this is read whole, in one request.
FIRST_PAGE_MESSAGES = 64

log = structlog.get_logger(__name__)


class History(NamedTuple):
    """A play as its log has it, and the commits that were read for it, from its newest snapshot or its beginning on.

    `gap` says what the log holds no longer, if anything; then the state is only as good as what is left.
    """

    play: Play
    commits: list[Commit]
    base: Base
    gap: HeadraceError | None = None

    @property
    def sequence(self) -> int:
        """Return the stream sequence of the newest commit, 0 when there is none."""
        return self.commits[-1].sequence if self.commits else 0


def unknown() -> History:
    """Return the history of a play that has none."""
    return History(Play(), [], Base())


async def load(bus: Bus, payloads: Payloads, key: PlayKey) -> History:
    """Return a play as its log has it, its big values in their places.

    Raises Unavailable when the log does not answer.
    """
    return await _read(payloads, await _stored(bus, key))


async def renew(bus: Bus, payloads: Payloads, key: PlayKey, known: History) -> History:
    """Return a play as its log has it now; only what came since it was `known` is read, and taken in in place.

    Raises Unavailable.
    """
    try:
        commits = await load_since(bus, payloads, key, known.sequence + 1)
    except PayloadLost:
        return await load(bus, payloads, key)
    base = known.base
    for commit in commits:
        evolve_commit(known.play, commit)
        base = after(base, commit)
    return known._replace(commits=commits or known.commits, base=base)


async def load_source(bus: Bus, payloads: Payloads, key: PlayKey, replay: Replay) -> Play:
    """Return the play that a replay repeats, as it was when the replay was asked for.

    Raises NotFound (HISTORY_LOST) and PayloadLost when the log does not hold it any more, Unavailable.
    """
    source = key._replace(shard=replay.shard, play_id=replay.play_id)
    stored = await bus.load(plays_stream(source.shard), source.events, since=1)
    known = await _read(payloads, [message for message in stored if message.sequence <= replay.sequence])
    if known.gap is not None:
        raise known.gap
    return known.play


async def _read(payloads: Payloads, messages: list[Stored]) -> History:
    stored = _from_snapshot(messages)
    commits, gap = await _commits(payloads, stored)
    if not commits:
        return unknown()
    snapshot = commits[0].events[-1]
    if isinstance(snapshot, PlaySnapshot) and is_readable(snapshot) and snapshot.play is not None:
        play = play_of(snapshot)
        base = Base(commits[0].sequence, snapshot.bytes, _size(stored[1:]), commits[0].time)
        for commit in commits[1:]:
            evolve_commit(play, commit)
        return History(play, commits, base, gap)
    if not isinstance(commits[0].events[0], BEGINNINGS):
        _leave_to_newer(commits)
        lost = f"the log holds nothing of this play before sequence {commits[0].sequence} any more"
        gap = gap or NotFound(lost, code="HISTORY_LOST")
    return History(fold(commits), commits, Base(bytes=_size(stored), at=commits[0].time), gap)


def _leave_to_newer(commits: list[Commit]) -> None:
    """Raise UnknownType when the play is whole in a snapshot, but in a newer release's shape: it is not lost."""
    for event in (commit.events[-1] for commit in commits):
        if isinstance(event, PlaySnapshot) and not is_readable(event):
            raise UnknownType(f"{TYPE_NAMES[PlaySnapshot]} of version {event.version}")


async def load_since(bus: Bus, payloads: Payloads, key: PlayKey, since: int) -> list[Commit]:
    """Return the commits of a play from stream sequence `since` on, in order. Raises Unavailable, PayloadLost."""
    stored = await bus.load(plays_stream(key.shard), key.events, since=since)
    return [await payloads.whole_commit(_decoded(message)) for message in stored]


async def _stored(bus: Bus, key: PlayKey) -> list[Stored]:
    stream = plays_stream(key.shard)
    page, more = await bus.load_some(stream, key.events, since=1, limit=FIRST_PAGE_MESSAGES)
    if not more or not page:
        return page
    newest = await bus.last(stream, key.events)
    place = snapshots.place_of(newest)
    if place > page[-1].sequence:
        later = await bus.load(stream, key.events, since=place)
        if later and later[0].sequence == place and _holds_readable(later[0]):
            return later
        # A newer release wrote it: what is before it tells the same.
    return page + await bus.load(stream, key.events, since=page[-1].sequence + 1)


def _from_snapshot(stored: list[Stored]) -> list[Stored]:
    """Return the messages from the newest snapshot on that can be read; all when there is none."""
    for place in range(len(stored) - 1, 0, -1):
        if stored[place].headers.get(snapshots.HEADER) == snapshots.HERE and _holds_readable(stored[place]):
            return stored[place:]
    return stored


def _holds_readable(message: Stored) -> bool:
    event = _decoded(message).events[-1]
    return isinstance(event, PlaySnapshot) and is_readable(event)


def _decoded(message: Stored) -> Commit:
    return decode_commit(message.data, sequence=message.sequence)


def _size(stored: list[Stored]) -> int:
    return sum(len(message.data) for message in stored)


async def _commits(payloads: Payloads, stored: list[Stored]) -> tuple[list[Commit], HeadraceError | None]:
    """Decode commits; the second value says which big value is gone, if one is."""
    commits: list[Commit] = []
    gap: HeadraceError | None = None
    for message in stored:
        commit = _decoded(message)
        try:
            commit = await payloads.whole_commit(commit)
        except PayloadLost as error:
            gap = error
        commits.append(commit)
    return commits, gap


def after(base: Base, commit: Commit) -> Base:
    """Return where a reader begins once this commit, by somebody else, was read as well."""
    newest = commit.events[-1]
    if isinstance(newest, PlaySnapshot) and is_readable(newest):
        return Base(commit.sequence, newest.bytes, 0, commit.time)
    return base


async def last_sequence(bus: Bus, key: PlayKey, *, leader: bool = False) -> int:
    """Return the stream sequence of a play's newest commit, 0 when it has none."""
    stored = await bus.last(plays_stream(key.shard), key.events, leader=leader)
    return 0 if stored is None else stored.sequence


async def start_command(bus: Bus, payloads: Payloads, key: PlayKey) -> StartPlay | None:
    """Return the play's start command as the stream holds it, None when there is none (R9).

    Raises PayloadLost when its args are gone, Unavailable.
    """
    stored = await bus.last(plays_stream(key.shard), key.command("start"), leader=True)
    if stored is None:
        return None
    command = (await payloads.whole_message(decode_message(stored.data))).data
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
