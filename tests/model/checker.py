"""Explores every state of a small model of the protocol and says what is wrong with it, with the shortest way there.

A state is good when everything has ended. The model is right when no step breaks a law and from every state that can be
reached a good one can still be reached without any further fault.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Move(NamedTuple, Generic[S]):
    """One step: what happens, whether it needs no fault, where it leads, and which law it breaks."""

    label: str
    fair: bool
    state: S
    broken: str = ""


class Finding(NamedTuple):
    """What exploring found: how many states, and the first thing that is wrong ("" when nothing is)."""

    states: int
    wrong: str
    trace: tuple[str, ...] = ()


class TooManyStates(AssertionError):
    """The model is larger than its test allows; nothing can be said about it."""


def explore(
    initial: S,
    moves: Callable[[S], Iterator[Move[S]]],
    good: Callable[[S], bool],
    *,
    alike: Callable[[S], S],
    states_max: int,
) -> Finding:
    """Explore all states breadth first, `alike` ones as one. Raises TooManyStates."""
    known: dict[S, int] = {initial: 0}
    order = [initial]
    came: list[tuple[int, str]] = [(-1, "")]
    before: list[list[int]] = [[]]  # by state: from where it is reached without a fault
    queue = deque([0])
    while queue:
        at = queue.popleft()
        goes_on = False
        for move in moves(order[at]):
            if move.broken:
                return Finding(len(order), move.broken, (*_way(came, at), move.label))
            state = alike(move.state)
            to = known.get(state)
            if to is None:
                if len(order) >= states_max:
                    raise TooManyStates(f"more than {states_max} states")
                to = known[state] = len(order)
                order.append(state)
                came.append((at, move.label))
                before.append([])
                queue.append(to)
            if move.fair:
                goes_on = True
                before[to].append(at)
        if not goes_on and not good(order[at]):
            return Finding(len(order), f"stuck: {order[at]}", _way(came, at))
    stuck = _first_stuck(before, (n for n, state in enumerate(order) if good(state)))
    if stuck is None:
        return Finding(len(order), "")
    return Finding(len(order), f"stuck: {order[stuck]}", _way(came, stuck))


def _way(came: list[tuple[int, str]], at: int) -> tuple[str, ...]:
    labels = []
    while at > 0:
        at, label = came[at]
        labels.append(label)
    return tuple(reversed(labels))


def _first_stuck(before: list[list[int]], good: Iterable[int]) -> int | None:
    saved = [False] * len(before)
    todo = []
    for n in good:
        saved[n] = True
        todo.append(n)
    while todo:
        for n in before[todo.pop()]:
            if not saved[n]:
                saved[n] = True
                todo.append(n)
    return next((n for n, is_saved in enumerate(saved) if not is_saved), None)
