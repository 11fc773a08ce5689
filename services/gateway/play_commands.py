"""Telling a play something: its command goes into the log, and the commit that shows its effect is waited for."""

from collections.abc import Callable
from typing import NamedTuple

from libs.common import codec, ids, subjects
from libs.common.codec import Commit
from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages import play as m
from libs.common.messages.query import GetPlay
from services.gateway.live import Seen
from services.gateway.parts import Parts
from services.gateway.plays import Place
from services.gateway.positions import HEADER
from services.gateway.routing import Call, shown

# Longer than ack_wait: what an executor took with it when it died is with another one by then.
EFFECT_WAIT_S = 20.0
NOTE_CHARS_MAX = 10_000

# Tells from the play's state after a commit, and the commit, whether it shows what a command did.
Effect = Callable[[str, Commit], bool]


class Told(NamedTuple):
    """The commit that a command was waiting for; `own` when it is the command's.

    When it came before the command could be sent it is somebody else's, and the command was not sent.
    """

    seen: Seen
    commit: Commit
    own: bool


class PlayCommands:
    """Finds plays that callers name, and tells them what callers want."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def place(self, call: Call) -> Place:
        """Return where the play of a call lives.

        Raises NotFound when the caller's company has none, Refused when the log has forgotten all but its end.
        """
        company_id, play_id = call.caller.company_id, play_id_of(call)
        place = await self._parts.plays.find(company_id, play_id)
        if place is None:
            # Raises NotFound; what is left of a play that the log has forgotten is its end.
            await self._parts.store.ask("play", GetPlay(company_id=company_id, play_id=play_id))
            raise Refused(f"play {play_id} has ended, and its history is not kept any more")
        return place

    async def open_place(self, call: Call) -> Place:
        """Return where a play lives that has not ended. Raises as `place`, and Refused when it has."""
        place = await self.place(call)
        if place.state in m.TERMINAL:
            raise Refused(f"play {place.key.play_id} has ended in {place.state}")
        return place

    async def send(self, place: Place, verb: str, command: m.Command, effect: Effect) -> Told | None:
        """Store a command and return the commit that shows its effect, None when none does in time.

        `place` is where the play stood when the command was decided on.
        """
        command_id = f"{verb}-{ids.new_id()}"

        def test(state: str, data: bytes) -> bool:
            return effect(state, codec.known_part(data, sequence=0)[0])

        live = self._parts.live
        waiter = await live.waiter(place.key, test, since=place.sequence)
        try:
            # What came before the waiter did, nobody would tell it of; and the play answers a command that came too
            # late with nothing at all.
            await live.look_for(waiter)
            if waiter.waiting:
                await self._parts.plays.order(place.key, verb, command, id=command_id)
            found = await waiter.seen(EFFECT_WAIT_S)
        finally:
            waiter.close()
        if found is None:
            return None
        commit, _ = codec.known_part(found.data, sequence=found.sequence)
        return Told(found, commit, commit.causation_id == command_id)

    def noted(self, place: Place, seen: Seen) -> dict[str, str]:
        """Return the header that lets the caller read what it wrote (D11)."""
        stream = subjects.plays_stream(place.key.shard)
        self._parts.positions.note(place.key.company_id, stream, seen.sequence)
        return {HEADER: f"{stream}={seen.sequence}"}


def play_id_of(call: Call) -> str:
    """Return the play that a call names. Raises NotFound when no play can have that name."""
    play_id = call.parameters[0]
    if not ids.is_id(play_id):
        raise NotFound(f"no play {shown(play_id)}", code="PLAY_NOT_FOUND")
    return play_id


def note_of(note: str | None) -> str:
    """Return the note of a body. Raises Invalid when it is too long."""
    if note is not None and len(note) > NOTE_CHARS_MAX:
        raise Invalid(f"note: expected at most {NOTE_CHARS_MAX} characters")
    return note or ""


def shows(*kinds: type[m.PlayEvent]) -> Effect:
    """Return the test for a commit that holds one of these events, or after which nothing can happen any more."""
    return lambda state, commit: state in m.TERMINAL or any(isinstance(e, kinds) for e in commit.events)


def is_end(state: str, _commit: Commit) -> bool:
    """Tell whether a play has ended."""
    return state in m.TERMINAL
