"""A play and its child in small: the parent waits for the child's result, may be cancelled, held or run out of time.

What a commit obliges to (the child's start, its cancel, the result for the parent) is sent after that commit and before
the acknowledgement, and again by whoever finds the play in that state.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.model.checker import Move

HANDLERS = 2
RULES = frozenset(
    {
        "a driver does the duties of what it takes over first",
        "an ended play's duties are done again",
        "duties come after the commit",
        "the end of the parent cancels the child",
        "a result is recorded while the parent runs",
        "a result is recorded while the parent is held",
    }
)
PARENT, CHILD = 0, 1


class Play(NamedTuple):
    """A play's log in short: its state, who drives it, and what was recorded."""

    state: str = "NONE"
    driver: int = -1
    delivery: int = 0
    asked: bool = False  # the parent's step waits for the child
    result: bool = False  # and has its result
    cancelled: bool = False
    held: bool = False
    expired: bool = False
    hold_applied: bool = False


class Message(NamedTuple):
    """A command: to whom, and whether it is available, out or acknowledged."""

    verb: str
    play: int
    state: str = "available"
    deliveries: int = 0


class Handler(NamedTuple):
    """Where a handler is, with which delivery of which message.

    `moved` when somebody appended since it looked; `after` is where it goes on when its duty is done.
    """

    phase: str
    message: int
    delivery: int
    moved: bool = False
    after: str = ""


class World(NamedTuple):
    """One state of the model."""

    plays: tuple[Play, Play]
    messages: tuple[Message, ...]
    handlers: tuple[Handler | None, ...]
    crashes: int
    stalls: int
    wishes: tuple[str, ...]  # what people and clocks may still ask of the parent


class Children:
    """The model with some of its rules; a child that hangs ends only when it is cancelled."""

    def __init__(self, rules: frozenset[str] = RULES, *, hangs: bool = False) -> None:
        self._rules = rules
        self._hangs = hangs

    def start(self, *wishes: str, crashes: int = 0, stalls: int = 0) -> World:
        """Return the first state: the parent's start was accepted; `wishes` may come at any time."""
        return World(
            (Play(), Play()), (Message("start", PARENT),), (None,) * HANDLERS, crashes, stalls, wishes
        )

    def good(self, world: World) -> bool:
        """Tell whether both plays have ended and everybody knows."""
        parent, child = world.plays
        acked = all(message.state == "acked" for message in world.messages)
        return parent.state == "END" and child.state != "RUN" and acked and not any(world.handlers)

    def alike(self, world: World) -> World:
        """Return the state that stands for all that differ only in which handler is which."""
        one, other = world.handlers
        if other is None or (one is not None and one <= other):
            return world
        return world._replace(handlers=(other, one))

    def moves(self, world: World) -> Iterator[Move[World]]:
        """Return every step from here."""
        yield from self._people(world)
        yield from self._server(world)
        for number, handler in enumerate(world.handlers):
            if handler is None:
                continue
            name = f"{number}:{world.messages[handler.message].verb}{world.messages[handler.message].play}"
            if world.crashes:
                crashed = _put(world, number, None)._replace(crashes=world.crashes - 1)
                yield Move(f"{name} crashes in {handler.phase}", False, crashed)
            after, broken = self._act(world, number, handler)
            if after != world:
                yield Move(f"{name} {handler.phase}", True, after, broken)

    def _people(self, world: World) -> Iterator[Move[World]]:
        for wish in world.wishes:
            parent = world.plays[PARENT]
            rest = tuple(other for other in world.wishes if other != wish)
            # Somebody who waits for a held play resumes it; the timer fires once the step waits.
            if (wish == "resume" and parent.state != "HOLD") or (wish == "wake" and not parent.asked):
                continue
            asked = world._replace(messages=(*world.messages, Message(wish, PARENT)), wishes=rest)
            yield Move(f"{wish} is sent", wish in {"resume", "wake"} or self._hangs, asked)

    def _server(self, world: World) -> Iterator[Move[World]]:
        idle = next((n for n, handler in enumerate(world.handlers) if handler is None), None)
        for n, message in enumerate(world.messages):
            name = f"{message.verb}{message.play}"
            if message.state == "available" and idle is not None:
                out = message._replace(state="out", deliveries=min(message.deliveries + 1, 4))
                yield Move(
                    f"{name} is delivered",
                    True,
                    _put(_mark(world, n, out), idle, Handler("looks", n, out.deliveries)),
                )
            if message.state == "out":
                held = any(handler is not None and handler.message == n for handler in world.handlers)
                again = _mark(world, n, message._replace(state="available"))
                if not held:
                    yield Move(f"{name} is available again", True, again)
                elif world.stalls:
                    yield Move(f"{name} stalls", False, again._replace(stalls=world.stalls - 1))

    # ── handlers ────────────────────────────────────────────────────────────────────────────────────

    def _act(self, world: World, number: int, handler: Handler) -> tuple[World, str]:
        message = world.messages[handler.message]
        play = world.plays[message.play]
        match handler.phase:
            case "looks":
                return self._receive(world, number, handler, message, play)
            case "drives":
                return self._drive(world, number, handler, message, play)
            case "starts the child" | "cancels the child" | "tells the parent":
                after = self._send(world, handler.phase)
                return _put(after, number, handler._replace(phase=handler.after, after="")), ""
            case "acknowledges":
                return _put(_mark(world, handler.message, message._replace(state="acked")), number, None), ""
            case "stops":
                return _put(world, number, None), ""
            case phase:
                raise AssertionError(phase)

    def _receive(  # noqa: C901 - the table of what is found
        self, world: World, number: int, handler: Handler, message: Message, play: Play
    ) -> tuple[World, str]:
        here = (handler.message, handler.delivery)

        def to(phase: str) -> tuple[World, str]:
            return _put(world, number, handler._replace(phase=phase, moved=False)), ""

        def drive(**facts: bool) -> tuple[World, str]:
            driven = play._replace(state="RUN", driver=here[0], delivery=here[1], **facts)
            first = "a driver does the duties of what it takes over first" in self._rules
            after = _commit(world, message.play, driven)
            return _put(after, number, self._duty(handler, message.play, driven, "drives", do=first)), ""

        def record(**facts: Any) -> tuple[World, str]:
            recorded = play._replace(hold_applied=play.hold_applied or "held" in facts)
            recorded = recorded._replace(**facts)
            after = _commit(world, message.play, recorded)
            return _put(after, number, handler._replace(phase="acknowledges", moved=False)), ""

        broken = ""
        if message.verb == "ended" and world.plays[CHILD].state != "END":
            broken = "the parent hears of an end that is not durable"
        if play.state == "NONE":
            if message.verb == "start":
                return drive()
            started = any(m.verb == "start" and m.play == message.play for m in world.messages)
            return drive(cancelled=True) if message.verb == "cancel" and started else to("acknowledges")
        if play.state == "END":
            again = "an ended play's duties are done again" in self._rules
            return _put(
                world, number, self._duty(handler, message.play, play, "acknowledges", do=again)
            ), broken
        if play.state == "RUN" and play.driver == here[0]:
            return drive() if handler.delivery > play.delivery else to("stops")
        fact = _FACTS.get(message.verb)
        if fact == "held" and play.hold_applied:
            return to("acknowledges")
        if message.verb == "resume" and play.state == "HOLD":
            return drive(held=False)
        if fact is None or getattr(play, fact):
            parked = play.state != "RUN"
            return _put(
                world, number, self._duty(handler, message.play, play, "acknowledges", do=parked)
            ), broken
        if play.state == "RUN":
            lost = fact == "result" and "a result is recorded while the parent runs" not in self._rules
            return to("acknowledges") if lost else (record(**{fact: True})[0], broken)
        if play.state == "HOLD" and fact != "cancelled":
            lost = fact == "result" and "a result is recorded while the parent is held" not in self._rules
            return to("acknowledges") if lost else (record(**{fact: True})[0], broken)
        return drive(**{fact: True, "hold_applied": play.hold_applied or fact == "held"})[0], broken

    def _drive(
        self, world: World, number: int, handler: Handler, message: Message, play: Play
    ) -> tuple[World, str]:
        if play.driver != handler.message or play.delivery != handler.delivery or play.state != "RUN":
            foreign = play.driver != handler.message
            return _put(world, number, handler._replace(phase="acknowledges" if foreign else "stops")), ""
        n = message.play
        if n == CHILD:
            if self._hangs and not play.cancelled:
                return world, ""
            if "duties come after the commit" not in self._rules and not handler.after:
                told = handler._replace(phase="tells the parent", after="drives")
                if Message("ended", PARENT) not in _fresh(world.messages):
                    return _put(world, number, told), ""
            after = play._replace(state="END")
        elif play.cancelled or ((play.expired or play.result) and not play.held):
            after = play._replace(state="END")
        elif play.held:
            after = play._replace(state="HOLD")
        elif not play.asked:
            after = play._replace(asked=True)
        else:
            after = play._replace(state="WAIT")
        if handler.moved:
            return _put(world, number, handler._replace(moved=False)), ""
        then = "drives" if after.state == "RUN" else "acknowledges"
        committed = _commit(world, n, after)
        return _put(committed, number, self._duty(handler, n, after, then, do=True)), ""

    def _duty(self, handler: Handler, n: int, play: Play, then: str, *, do: bool) -> Handler:
        duty = self._duty_of(n, play) if do else ""
        if not duty:
            return handler._replace(phase=then, after="", moved=False)
        return handler._replace(phase=duty, after=then, moved=False)

    def _duty_of(self, n: int, play: Play) -> str:
        if n == CHILD:
            return "tells the parent" if play.state == "END" else ""
        if not play.asked or play.result:
            return ""
        if play.state != "END":
            return "starts the child"
        return "cancels the child" if "the end of the parent cancels the child" in self._rules else ""

    def _send(self, world: World, duty: str) -> World:
        if duty == "tells the parent":
            return _sent(world, "ended", PARENT)
        if duty == "starts the child":
            return _sent(world, "start", CHILD)
        return _sent(world, "cancel", CHILD)


_FACTS = {"cancel": "cancelled", "ended": "result", "hold": "held", "wake": "expired"}


def _fresh(messages: tuple[Message, ...]) -> list[Message]:
    return [Message(message.verb, message.play) for message in messages]


def _sent(world: World, verb: str, play: int) -> World:
    """Send a command under an id of its own: a repeat is the same message."""
    if Message(verb, play) in _fresh(world.messages):
        return world
    return world._replace(messages=(*world.messages, Message(verb, play)))


def _commit(world: World, n: int, play: Play) -> World:
    """Append to a play; whoever looked at it before can tell."""
    handlers = tuple(
        handler._replace(moved=True) if handler and world.messages[handler.message].play == n else handler
        for handler in world.handlers
    )
    plays = (play, world.plays[CHILD]) if n == PARENT else (world.plays[PARENT], play)
    return world._replace(plays=plays, handlers=handlers)


def _put(world: World, number: int, handler: Handler | None) -> World:
    # Built anew, not by _replace: nearly all of the time that a model takes is spent here.
    plays, messages, before, crashes, stalls, wishes = world
    handlers = (*before[:number], handler, *before[number + 1 :])
    return World(plays, messages, handlers, crashes, stalls, wishes)


def _mark(world: World, number: int, message: Message) -> World:
    plays, before, handlers, crashes, stalls, wishes = world
    messages = (*before[:number], message, *before[number + 1 :])
    return World(plays, messages, handlers, crashes, stalls, wishes)
