"""Limits in small: plays of one limited flow, their lane, the commands that are under way, and the handlers.

A handler reads the lane, then the play, and appends to the lane only if the lane has not moved since: so a slot is
never taken for a play that ended meanwhile. Each play's driver frees the slot after the play's last commit and before
its acknowledgement; the same commit of the lane says who is next, and their releases follow it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.checker import Move

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
    }
)


class Play(NamedTuple):
    """A play's log: its state, and the message that drives it."""

    state: str = "NONE"
    driver: int = -1


class Message(NamedTuple):
    """A command: `state` is available, out (with a handler, or lost with one), or acknowledged."""

    verb: str
    play: int
    state: str = "available"


class Lane(NamedTuple):
    """Who holds a slot (and whose end gave it to them), and who waits."""

    holders: tuple[tuple[int, int], ...] = ()
    queue: tuple[int, ...] = ()

    def holds(self, play: int) -> bool:
        """Tell whether the play has a slot."""
        return any(holder == play for holder, _ in self.holders)


class Handler(NamedTuple):
    """Where a handler is, with which message, and whether what it read has moved since."""

    phase: str
    message: int
    lane_moved: bool = False
    play_moved: bool = False


class World(NamedTuple):
    """One state of the model; `crashes` and `stalls` are what may still go wrong."""

    plays: tuple[Play, ...]
    lane: Lane
    messages: tuple[Message, ...]
    handlers: tuple[Handler | None, ...]
    crashes: int
    stalls: int


class Lanes:
    """The model with some of its rules; `limit` slots."""

    def __init__(self, rules: frozenset[str] = RULES, *, limit: int = 1) -> None:
        self._rules = rules
        self._limit = limit

    def start(self, plays: int, *, cancels: tuple[int, ...] = (), crashes: int = 0, stalls: int = 0) -> World:
        """Return the first state: each play's start was accepted, and some cancels."""
        messages = [Message("start", n) for n in range(plays)] + [Message("cancel", n) for n in cancels]
        return World((Play(),) * plays, Lane(), tuple(messages), (None,) * HANDLERS, crashes, stalls)

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
        for number, handler in enumerate(world.handlers):
            if handler is None:
                continue
            name = f"{number}:{world.messages[handler.message].verb}{world.messages[handler.message].play}"
            if world.crashes:
                crashed = _put(world, number, None)._replace(crashes=world.crashes - 1)
                yield Move(f"{name} crashes in {handler.phase}", False, crashed)
            for after, broken in self._act(world, number, handler):
                yield Move(f"{name} {handler.phase}", True, after, broken)

    def _server(self, world: World) -> Iterator[Move[World]]:
        idle = next((n for n, handler in enumerate(world.handlers) if handler is None), None)
        for n, message in enumerate(world.messages):
            name = f"{message.verb}{message.play}"
            if message.state == "available" and idle is not None:
                taken = _put(_mark(world, n, "out"), idle, Handler("reads the lane", n))
                yield Move(f"{name} is delivered", True, taken)
            if message.state == "out":
                held = any(handler is not None and handler.message == n for handler in world.handlers)
                again = _mark(world, n, "available")
                if not held:
                    yield Move(f"{name} is available again", True, again)
                elif world.stalls:
                    yield Move(f"{name} stalls", False, again._replace(stalls=world.stalls - 1))

    def _act(self, world: World, number: int, handler: Handler) -> Iterator[tuple[World, str]]:
        message = world.messages[handler.message]

        def to(phase: str, world: World = world, **read: bool) -> tuple[World, str]:
            after = handler._replace(phase=phase, **read) if read else Handler(phase, *handler[1:])
            return _put(world, number, after), ""

        match handler.phase:
            case "reads the lane":
                yield to("reads the play", lane_moved=False)
            case "reads the play":
                yield to(self._decided(world, handler.message, world.plays[message.play]), play_moved=False)
            case "acquires" | "acquires again":
                yield self._acquire(world, number, handler)
            case "starts" | "defers" | "ends" | "cancels" | "resumes":
                yield self._commit(world, number, handler)
            case "frees":
                if "releases follow the lane's commit" in self._rules:
                    yield self._free(world, number, handler, then="releases")
                else:
                    yield to("frees late", self._released(world, _next(world.lane, message.play)))
            case "frees late":
                yield self._free(world, number, handler, then="acknowledges")
            case "releases":
                promoted = tuple(holder for holder, by in world.lane.holders if by == message.play)
                yield to("acknowledges", self._released(world, promoted))
            case "acknowledges":
                yield _put(_mark(world, handler.message, "acked"), number, None), ""
            case phase:
                raise AssertionError(phase)

    def _released(self, world: World, plays: tuple[int, ...]) -> World:
        # One release under way is as good as two; fewer states.
        sent = tuple(
            Message("release", play) for play in plays if Message("release", play) not in world.messages
        )
        return world._replace(messages=world.messages + sent)

    def _decided(self, world: World, number: int, play: Play) -> str:
        message = world.messages[number]
        if play.state == "END":
            again = "a redelivery of an ended play frees again" in self._rules
            return "frees" if again else "acknowledges"
        if play.state == "RUN":
            return "resumes" if play.driver == number else "acknowledges"
        if message.verb == "cancel":
            return "cancels"
        if play.state == "DEFERRED":
            # Whoever deferred it may be stalled right before the acknowledgement of this very start.
            waits = "a start never drives a deferred play" in self._rules and message.verb == "start"
            return "acknowledges" if waits else "acquires again"
        unborn = "a release of an unborn play starts it" in self._rules or message.verb != "release"
        return "acquires" if unborn else "acknowledges"

    def _acquire(self, world: World, number: int, handler: Handler) -> tuple[World, str]:
        play = world.messages[handler.message].play
        lane = world.lane
        queued = "acknowledges" if handler.phase == "acquires again" else "defers"
        if handler.lane_moved:
            whole = "the play is read again after a conflict of the lane" in self._rules
            phase = "reads the lane" if whole else handler.phase
            return _put(world, number, handler._replace(phase=phase, lane_moved=False)), ""
        if lane.holds(play):
            return _put(world, number, handler._replace(phase="starts")), ""
        if play in lane.queue:
            return _put(world, number, handler._replace(phase=queued)), ""
        room = len(lane.holders) < self._limit
        taken = lane._replace(holders=(*lane.holders, (play, -1)))
        lane = taken if room else lane._replace(queue=(*lane.queue, play))
        after = _put(
            _moved(world, lane=lane),
            number,
            handler._replace(phase="starts" if room else queued, lane_moved=True),
        )
        return after, self._too_many(after)

    def _commit(self, world: World, number: int, handler: Handler) -> tuple[World, str]:
        n = world.messages[handler.message].play
        if handler.play_moved:
            return _put(world, number, handler._replace(phase="reads the lane")), ""
        broken = f"play {n} has a commit after its end" if world.plays[n].state == "END" else ""
        freed = "the slot is freed before the acknowledgement" in self._rules
        state, phase = {
            "starts": ("RUN", "ends"),
            "resumes": ("RUN", "ends"),
            "defers": ("DEFERRED", "acknowledges"),
            "ends": ("END", "frees" if freed else "acknowledges"),
            "cancels": ("END", "frees"),
        }[handler.phase]
        play = Play(state, handler.message if state == "RUN" else -1)
        after = _put(_moved(world, play=(n, play)), number, handler._replace(phase=phase, play_moved=False))
        return after, broken or self._too_many(after)

    def _free(self, world: World, number: int, handler: Handler, *, then: str) -> tuple[World, str]:
        play = world.messages[handler.message].play
        lane = world.lane
        present = lane.holds(play) or play in lane.queue
        holders = tuple(holder for holder in lane.holders if holder[0] != play)
        queue = tuple(waiting for waiting in lane.queue if waiting != play)
        while queue and len(holders) < self._limit:
            holders, queue = (*holders, (queue[0], play)), queue[1:]
        if present or "freeing always appends" in self._rules:
            world = _moved(world, lane=Lane(holders, queue))
        if not present and "releases are sent again" not in self._rules:
            then = "acknowledges"
        return _put(world, number, handler._replace(phase=then)), self._too_many(world)

    def _too_many(self, world: World) -> str:
        running = [n for n, play in enumerate(world.plays) if play.state == "RUN"]
        if len(running) > self._limit:
            return f"plays {running} run, and the limit is {self._limit}"
        without = [n for n in running if not world.lane.holds(n)]
        return f"plays {without} run without a slot" if without else ""


def _put(world: World, number: int, handler: Handler | None) -> World:
    # Built anew, not by _replace: nearly all of the time that a model takes is spent here.
    plays, lane, messages, before, crashes, stalls = world
    handlers = (*before[:number], handler, *before[number + 1 :])
    return World(plays, lane, messages, handlers, crashes, stalls)


def _mark(world: World, number: int, state: str) -> World:
    plays, lane, before, handlers, crashes, stalls = world
    message = Message(before[number].verb, before[number].play, state)
    return World(plays, lane, (*before[:number], message, *before[number + 1 :]), handlers, crashes, stalls)


def _next(lane: Lane, play: int) -> tuple[int, ...]:
    """Return whom the end of this play will let in, of one slot."""
    return lane.queue[:1] if lane.holds(play) else ()


def _moved(world: World, *, lane: Lane | None = None, play: tuple[int, Play] | None = None) -> World:
    """Append to the lane or to a play; whoever read it before can tell."""
    handlers = list(world.handlers)
    for n, handler in enumerate(handlers):
        if handler is not None:
            handlers[n] = handler._replace(
                lane_moved=handler.lane_moved or lane is not None,
                play_moved=handler.play_moved
                or (play is not None and world.messages[handler.message].play == play[0]),
            )
    plays = world.plays
    if play is not None:
        plays = (*plays[: play[0]], play[1], *plays[play[0] + 1 :])
    return world._replace(lane=world.lane if lane is None else lane, plays=plays, handlers=tuple(handlers))
