"""Limits in small: plays of one limited flow, their lane, the commands that are under way, and the handlers.

A handler reads the lane, then the play, and appends to the lane only if the lane has not moved since: so a slot is
never taken for a play that ended meanwhile. Each play's driver frees the slot after the play's last commit and before
its acknowledgement; the same commit of the lane says who is next, and their releases follow it. Somebody may retry a
play that has ended: the retry takes a slot of its own, or its place in the line. Somebody may hold a play, in line too.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.model.checker import Move
from tests.model.lane_world import (
    Handler,
    Lane,
    Message,
    Play,
    Seat,
    World,
    is_over,
    mark,
    moved,
    put,
    retry_of,
    sent,
    who_is_next,
)

HANDLERS = 2
RULES = frozenset(
    {
        "a redelivery of an ended play frees again",
        "the play is read again after a conflict of the lane",
        "freeing always appends",
        "a release of an unborn play starts it",
        "releases follow the lane's commit",
        "releases are sent again",
        "the slot is freed before the acknowledgement",
        "a start never drives a deferred play",
        "a retry never drives a deferred play",
        "a seat tells retries apart",
        "who puts a retry in line looks at the lane again",
        "an end frees its slot before its retry takes one",
        "a hold in line is recorded",
        "a hold that overtakes the start is recorded in line",
    }
)
OPEN = {"RUN", "DEFERRED", "HELD"}


class Lanes:
    """The model with some of its rules; `limit` slots."""

    def __init__(self, rules: frozenset[str] = RULES, *, limit: int = 1) -> None:
        self._rules = rules
        self._limit = limit

    def start(
        self,
        plays: int,
        *,
        cancels: tuple[int, ...] = (),
        holds: tuple[int, ...] = (),
        retries: tuple[int, ...] = (),
        ended: tuple[int, ...] = (),
        crashes: int = 0,
        stalls: int = 0,
    ) -> World:
        """Return the first state: each play's start was accepted, and some cancels and holds; some have ended."""
        messages = [Message("start", n, "acked" if n in ended else "available") for n in range(plays)]
        messages += [Message("cancel", n) for n in cancels]
        messages += [Message("hold", n) for n in holds]
        states = tuple(Play("END" if n in ended else "NONE") for n in range(plays))
        return World(states, Lane(), tuple(messages), (None,) * HANDLERS, crashes, stalls, retries)

    def good(self, world: World) -> bool:
        """Tell whether everything has ended and every slot is free."""
        ended = all(play.state == "END" for play in world.plays)
        acked = all(message.state == "acked" for message in world.messages)
        return ended and acked and not any(world.handlers) and not (world.lane.holders or world.lane.queue)

    def alike(self, world: World) -> World:
        """Return the state that stands for all that differ only in which handler is which."""
        one, other = world.handlers
        if other is None or (one is not None and one <= other):
            return world
        return world._replace(handlers=(other, one))

    def moves(self, world: World) -> Iterator[Move[World]]:
        """Return every step from here."""
        yield from self._server(world)
        yield from self._people(world)
        for number, handler in enumerate(world.handlers):
            if handler is None:
                continue
            name = f"{number}:{world.messages[handler.message].verb}{world.messages[handler.message].play}"
            if world.crashes:
                crashed = put(world, number, None)._replace(crashes=world.crashes - 1)
                yield Move(f"{name} crashes in {handler.phase}", False, crashed)
            for after, broken in self._act(world, number, handler):
                yield Move(f"{name} {handler.phase}", True, after, broken)

    def _server(self, world: World) -> Iterator[Move[World]]:
        idle = next((n for n, handler in enumerate(world.handlers) if handler is None), None)
        for n, message in enumerate(world.messages):
            name = f"{message.verb}{message.play}"
            if message.state == "available" and idle is not None:
                taken = put(mark(world, n, "out"), idle, Handler("reads the lane", n))
                yield Move(f"{name} is delivered", True, taken)
            if message.state == "out":
                held = any(handler is not None and handler.message == n for handler in world.handlers)
                again = mark(world, n, "available")
                if not held:
                    yield Move(f"{name} is available again", True, again)
                elif world.stalls:
                    yield Move(f"{name} stalls", False, again._replace(stalls=world.stalls - 1))

    def _people(self, world: World) -> Iterator[Move[World]]:
        for n, play in enumerate(world.plays):
            if play.state == "END" and n in world.retries:
                # No cure for anything: whoever needs it to come to rest is stuck.
                retry = Message("retry", n, number=play.retries + 1)
                left = tuple(sorted((Counter(world.retries) - Counter([n])).elements()))
                yield from sent(world._replace(retries=left), retry, fair=False)
            if play.held and play.state != "END":
                yield from sent(world, Message("resume", n), fair=True)

    def _act(self, world: World, number: int, handler: Handler) -> Iterator[tuple[World, str]]:
        message = world.messages[handler.message]
        ended = self._ended(message, handler)

        def to(phase: str, world: World = world, **read: Any) -> tuple[World, str]:
            after = handler._replace(phase=phase, **read) if read else Handler(phase, *handler[1:])
            return put(world, number, after), ""

        match handler.phase:
            case "reads the lane":
                yield to("reads the play", lane_moved=False)
            case "reads the play":
                play = world.plays[message.play]
                yield to(self._decided(world, handler, play), play_moved=False, end=play.retries)
            case "acquires" | "acquires again":
                yield self._acquire(world, number, handler)
            case "looks":
                seat = self._seat(world, message)
                let_in = (message.play,) if world.lane.holds(seat) else ()
                yield to("acknowledges", self._released(world, let_in, by=seat.retry))
            case "starts" | "defers" | "ends" | "cancels" | "resumes" | "holds" | "lifts" | "parks":
                yield self._commit(world, number, handler)
            case "frees" | "frees first":
                then = "releases" if handler.phase == "frees" else "releases first"
                if "releases follow the lane's commit" in self._rules:
                    yield self._free(world, number, handler, then=then)
                else:
                    yield to("frees late", self._released(world, who_is_next(world.lane, ended)))
            case "frees late":
                yield self._free(world, number, handler, then="acknowledges")
            case "releases" | "releases first":
                promoted = tuple(seat.play for seat, by in world.lane.holders if by == ended)
                then = "acknowledges" if handler.phase == "releases" else "reads the lane"
                yield to(then, self._released(world, promoted), freed=then == "reads the lane")
            case "acknowledges":
                acked = put(mark(world, handler.message, "acked"), number, None)
                yield acked, self._forgotten(world, message, handler)
            case phase:
                raise AssertionError(phase)

    def _forgotten(self, world: World, message: Message, handler: Handler) -> str:
        play = world.plays[message.play]
        # What an end absorbed is not held against the retry of that end.
        meant = play.state in OPEN and play.retries == handler.end
        if message.verb == "hold" and meant and not play.heard:
            return f"the hold of play {message.play} is acknowledged, and forgotten"
        return ""

    def _released(self, world: World, plays: tuple[int, ...], *, by: int = 0) -> World:
        # One release under way is as good as two; fewer states. Unless somebody looked: an older one may be
        # with a handler that found the play ended, and acknowledges it.
        releases = (Message("release", play, number=by) for play in plays)
        sent = tuple(release for release in releases if release not in world.messages)
        return world._replace(messages=world.messages + sent)

    def _decided(self, world: World, handler: Handler, play: Play) -> str:
        message = world.messages[handler.message]
        match play.state:
            case "END":
                return self._after_end(message, handler, play)
            case "RUN" if play.driver == handler.message:
                return "parks" if play.held else "resumes"
            case _ if message.verb == "cancel" and play.state != "RUN":
                return "cancels"
            case "RUN" | "HELD":
                return self._fact(message, play)
            case "DEFERRED":
                return self._in_line(message, play)
        if message.verb == "resume":
            return "acknowledges"
        unborn = "a release of an unborn play starts it" in self._rules or message.verb != "release"
        return "acquires" if unborn else "acknowledges"

    def _after_end(self, message: Message, handler: Handler, play: Play) -> str:
        if message.verb == "retry" and message.number == play.retries + 1:
            first = "an end frees its slot before its retry takes one" in self._rules
            return "frees first" if first and not handler.freed else "acquires"
        again = "a redelivery of an ended play frees again" in self._rules
        return "frees" if again else "acknowledges"

    def _fact(self, message: Message, play: Play) -> str:
        if message.verb == "hold" and not play.heard:
            return "holds"
        return "lifts" if message.verb == "resume" and play.held else "acknowledges"

    def _in_line(self, message: Message, play: Play) -> str:
        match message.verb:
            case "start" | "retry":
                # Whoever deferred it may be stalled right before the acknowledgement of this very message.
                waits = f"a {message.verb} never drives a deferred play" in self._rules
                return self._waits(message) if waits else "acquires again"
            case "hold" | "resume":
                recorded = "a hold in line is recorded" in self._rules
                return self._fact(message, play) if recorded else "acknowledges"
            case _:
                return "acquires again"

    def _waits(self, message: Message) -> str:
        # Its release may have come before the commit that puts it in line, and found an ended play.
        looks = "who puts a retry in line looks at the lane again" in self._rules
        return "looks" if looks and message.verb == "retry" else "acknowledges"

    def _acquire(self, world: World, number: int, handler: Handler) -> tuple[World, str]:
        message = world.messages[handler.message]
        seat = self._seat(world, message)
        lane = world.lane
        queued = "acknowledges" if handler.phase == "acquires again" else "defers"
        if (
            message.verb == "hold"
            and "a hold that overtakes the start is recorded in line" not in self._rules
        ):
            queued = "acknowledges"
        if handler.lane_moved:
            whole = "the play is read again after a conflict of the lane" in self._rules
            phase = "reads the lane" if whole else handler.phase
            return put(world, number, handler._replace(phase=phase, lane_moved=False)), ""
        if lane.holds(seat):
            return put(world, number, handler._replace(phase="starts")), ""
        if seat in lane.queue:
            return put(world, number, handler._replace(phase=queued)), ""
        room = len(lane.holders) < self._limit
        taken = lane._replace(holders=(*lane.holders, (seat, None)))
        lane = taken if room else lane._replace(queue=(*lane.queue, seat))
        after = put(
            moved(world, lane=lane),
            number,
            handler._replace(phase="starts" if room else queued, lane_moved=True),
        )
        return after, self._too_many(after)

    def _seat(self, world: World, message: Message) -> Seat:
        if "a seat tells retries apart" not in self._rules:
            return Seat(message.play)
        return Seat(message.play, retry_of(message, world.plays[message.play]))

    def _ended(self, message: Message, handler: Handler) -> Seat:
        return Seat(message.play, handler.end if "a seat tells retries apart" in self._rules else 0)

    def _commit(self, world: World, number: int, handler: Handler) -> tuple[World, str]:
        message = world.messages[handler.message]
        n, play = message.play, world.plays[message.play]
        if handler.play_moved:
            return put(world, number, handler._replace(phase="reads the lane")), ""
        retries = retry_of(message, play)
        broken = (
            f"play {n} has a commit after its end" if (play.state, retries) == ("END", play.retries) else ""
        )
        holds = message.verb == "hold" and handler.phase in {"starts", "defers", "holds"}
        heard, held = play.heard or holds, play.held or holds
        freed = "the slot is freed before the acknowledgement" in self._rules
        match handler.phase:
            case "holds":
                state, phase = play.state, "acknowledges"
            case "lifts":
                held = False
                state, phase = ("RUN", "ends") if play.state == "HELD" else (play.state, "acknowledges")
            case "parks":
                state, phase = "HELD", "acknowledges"
            case "starts" if held:
                state, phase = "HELD", "acknowledges"
            case "starts" | "resumes":
                state, phase = "RUN", "ends"
            case "defers":
                state, phase = "DEFERRED", self._waits(message)
            case "ends":
                held, state, phase = False, "END", "frees" if freed else "acknowledges"
            case _:
                held, state, phase = False, "END", "frees"
        driver = handler.message if phase == "ends" else play.driver
        after = Play(state, driver if state == "RUN" else -1, retries, held, heard)
        world = put(
            moved(world, play=(n, after)),
            number,
            handler._replace(phase=phase, play_moved=False, end=retries, freed=False),
        )
        return world, broken or self._too_many(world)

    def _free(self, world: World, number: int, handler: Handler, *, then: str) -> tuple[World, str]:
        message = world.messages[handler.message]
        ended = self._ended(message, handler)
        lane = world.lane
        holders = tuple(holder for holder in lane.holders if not is_over(holder[0], ended))
        queue = tuple(waiting for waiting in lane.queue if not is_over(waiting, ended))
        present = (holders, queue) != lane
        while queue and len(holders) < self._limit:
            holders, queue = (*holders, (queue[0], ended)), queue[1:]
        if present or "freeing always appends" in self._rules:
            world = moved(world, lane=Lane(holders, queue))
        if not present and "releases are sent again" not in self._rules:
            then = "acknowledges"
        return put(world, number, handler._replace(phase=then)), self._too_many(world)

    def _too_many(self, world: World) -> str:
        running = [n for n, play in enumerate(world.plays) if play.state in {"RUN", "HELD"}]
        if len(running) > self._limit:
            return f"plays {running} run, and the limit is {self._limit}"
        apart = "a seat tells retries apart" in self._rules
        seats = {n: Seat(n, world.plays[n].retries if apart else 0) for n in running}
        without = [n for n in running if not world.lane.holds(seats[n])]
        return f"plays {without} run without a slot" if without else ""
