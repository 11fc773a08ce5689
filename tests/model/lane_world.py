"""One state of the model of limits: plays, their lane, the commands under way, and the handlers; and how it changes."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.checker import Move


class Seat(NamedTuple):
    """A play in the lane, for its so manieth retry."""

    play: int
    retry: int = 0


class Play(NamedTuple):
    """A play's log: its state, the message that drives it, its retries; `heard` once its hold is in the log."""

    state: str = "NONE"
    driver: int = -1
    retries: int = 0
    held: bool = False
    heard: bool = False


class Message(NamedTuple):
    """A command: `state` is available, out (with a handler, or lost with one), or acknowledged."""

    verb: str
    play: int
    state: str = "available"
    number: int = 0  # which retry of the play this one asks for


class Lane(NamedTuple):
    """Who holds a slot (and whose end gave it to them), and who waits."""

    holders: tuple[tuple[Seat, Seat | None], ...] = ()
    queue: tuple[Seat, ...] = ()

    def holds(self, seat: Seat) -> bool:
        """Tell whether the play has a slot."""
        return any(holder == seat for holder, _ in self.holders)


class Handler(NamedTuple):
    """Where a handler is, with which message, and whether what it read has moved since."""

    phase: str
    message: int
    lane_moved: bool = False
    play_moved: bool = False
    end: int = 0  # the end whose slot it frees: that of this retry
    freed: bool = False  # that slot, before it takes one for the next retry


class World(NamedTuple):
    """One state of the model; `crashes`, `stalls` and `retries` (of which plays) are what may still happen."""

    plays: tuple[Play, ...]
    lane: Lane
    messages: tuple[Message, ...]
    handlers: tuple[Handler | None, ...]
    crashes: int
    stalls: int
    retries: tuple[int, ...] = ()


def retry_of(message: Message, play: Play) -> int:
    """Return for which retry of the play this message takes a slot."""
    return message.number if message.verb == "retry" and play.state == "END" else play.retries


def is_over(seat: Seat, ended: Seat) -> bool:
    """Tell whether an end ends what this seat is for: that of an earlier retry ended long ago."""
    return seat.play == ended.play and seat.retry <= ended.retry


def sent(world: World, message: Message, *, fair: bool) -> Iterator[Move[World]]:
    """Have somebody send a command, unless the same is known already."""
    known = {one._replace(state="available") for one in world.messages}
    if message not in known:
        sent = world._replace(messages=(*world.messages, message))
        yield Move(f"somebody sends {message.verb} {message.play}", fair, sent)


def put(world: World, number: int, handler: Handler | None) -> World:
    """Return the world with this handler in this place."""
    # Built anew, not by _replace: nearly all of the time that a model takes is spent here.
    plays, lane, messages, before, crashes, stalls, retries = world
    handlers = (*before[:number], handler, *before[number + 1 :])
    return World(plays, lane, messages, handlers, crashes, stalls, retries)


def mark(world: World, number: int, state: str) -> World:
    """Return the world with this message in that state."""
    plays, lane, before, handlers, crashes, stalls, retries = world
    verb, play, _, asked = before[number]
    messages = (*before[:number], Message(verb, play, state, asked), *before[number + 1 :])
    return World(plays, lane, messages, handlers, crashes, stalls, retries)


def who_is_next(lane: Lane, ended: Seat) -> tuple[int, ...]:
    """Return whom the end of this play will let in, of one slot."""
    return tuple(seat.play for seat in lane.queue[:1]) if lane.holds(ended) else ()


def moved(world: World, *, lane: Lane | None = None, play: tuple[int, Play] | None = None) -> World:
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
