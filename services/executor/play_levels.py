"""The levels of a play, pure: outside of all loops, and in each open item of a loop; and what an ended item leaves.

A loop's items run inside the play. An item that has ended is dropped: of it stay what an aggregator collects, and what
is shown and counted after the loop, so that a loop over many items takes the memory of one batch.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages import play as m
from libs.common.messages.approval import Gate
from libs.expressions import StepView
from libs.expressions.values import value_at

# An item of a loop, by its number in each loop around it, the outermost first; empty outside of all loops.
Iteration = tuple[int, ...]

# Of steps that failed in items which have ended, so many at one level can be read from a snapshot on, with outputs up
# to this size.
FAILURES_KEPT_MAX = 100
FAILURE_OUT_BYTES_MAX = 4_096

# What a step has come to in all items together, as far as the end of the play asks (spec flow8, Q23).
_RANKS = {"FILTERED": 0, "SKIP": 1, "FAIL": 2, "DONE": 2}


class LayerRun(msgspec.Struct):
    """How far one step is."""

    layer_id: str
    order: int
    state: m.LayerState = "NEW"
    attempts: int = 0  # that ended: in failure, once the step has ended all of them
    announced: bool = False
    started_at: datetime | None = None
    waits_for: str = ""  # while in WAIT: approval, delay, defer, retry, kv, child
    until: datetime | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    approval: dict[str, Any] | None = None
    gate: Gate | None = None  # the rules and votes of its approval, when it has rules
    deferred: bool = False
    read: tuple[str, ...] = ()  # what its args read of KV, encrypted
    child: str = ""  # the play it waits for
    # For who reads the play from a snapshot on: when it ended, for which item of a loop it ran, which retry of the
    # play began it anew, whether a replay took it over.
    ended_at: datetime | None = None
    iteration: Iteration = ()
    round: int = 0
    reused: bool = False

    @property
    def ended(self) -> bool:
        """Tell whether nothing can happen to this step any more."""
        return self.state in m.TERMINAL


class Level(msgspec.Struct):
    """What is known of the steps at one level: the play outside of its loops, or one item of a loop.

    `collected` holds what loops that ended here gathered for aggregators, by `<ref>` or `<ref>.<field>`. For who reads
    the play from a snapshot on there are, by ref, of the items of loops here that have ended, those in loops within
    them included: in `failures` the first runs that failed, in `counts` how many ended in which state.
    """

    layers: dict[str, LayerRun] = {}
    prev: dict[str, Any] = {}
    failed: set[str] = set()
    loop: "Loop | None" = None
    collected: dict[str, list[Any]] = {}
    failures: dict[str, list[LayerRun]] = {}
    counts: dict[str, dict[str, int]] = {}
    cursor: int = 0  # groups before this one have ended; a memory of `advance`, derived


class Shown(msgspec.Struct):
    """The item that is seen after a loop: the first that failed, else the last."""

    index: int
    failed: bool
    layers: dict[str, LayerRun]
    prev: dict[str, Any]


class Loop(msgspec.Struct):
    """An iterator at work: its items, the batch at hand, and what ended items left.

    `open` and `ended` are of the batch that begins at `start`: items that have begun, and what the ended ones give to
    aggregators, one list for each of `collects`.
    """

    ref: str
    items: list[Any]
    batch_size: int = 1
    collects: tuple[str, ...] = ()
    start: int = 0
    open: dict[int, Level] = {}
    ended: dict[int, list[list[Any]]] = {}
    collected: dict[str, list[Any]] = {}
    shown: Shown | None = None
    best: dict[str, LayerRun] = {}
    broken: bool = False

    @property
    def batch_end(self) -> int:
        """Return the number of the first item after the batch at hand."""
        return min(self.start + self.batch_size, len(self.items))

    @property
    def finished(self) -> bool:
        """Tell whether no item is left, or none may follow a batch in which one failed."""
        return self.start >= len(self.items) or (self.broken and not self.open and not self.ended)

    def item(self, index: int) -> dict[str, Any]:
        """Return what `$prev.<iterator>` is in this item (spec flow8 section 17.1)."""
        total = len(self.items)
        return {"item": self.items[index], "index": index, "total": total, "isLast": index == total - 1}

    @property
    def out(self) -> dict[str, Any]:
        """Return what `$prev.<iterator>` is after the loop: its last item, or the first that failed."""
        if self.shown is None:
            return {"item": None, "index": None, "total": len(self.items), "isLast": False}
        return self.item(self.shown.index)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────


def level_at(level: Level, iteration: Iteration) -> Level | None:
    """Return the level of an item, None when that item has not begun or is over."""
    for index in iteration:
        if level.loop is None:
            return None
        inner = level.loop.open.get(index)
        if inner is None:
            return None
        level = inner
    return level


def levels(level: Level, iteration: Iteration = ()) -> Iterator[tuple[Iteration, Level]]:
    """Return this level and the open items below it, in their order."""
    yield iteration, level
    if level.loop is not None:
        for index in sorted(level.loop.open):
            yield from levels(level.loop.open[index], (*iteration, index))


def runs(level: Level) -> Iterator[tuple[str, Iteration, LayerRun]]:
    """Return the steps of all levels as ref, iteration and run; iterators whose items run are not among them."""
    for iteration, each in levels(level):
        for ref, run in each.layers.items():
            if each.loop is None or each.loop.ref != ref or run.ended:
                yield ref, iteration, run


def awaited(play: Level) -> tuple[str, Iteration, LayerRun] | None:
    """Return the step that a play waits for: the first of its gates, else the first of all that wait."""
    waiting = [each for each in runs(play) if each[2].state == "WAIT"]
    return min(
        waiting,
        key=lambda each: (each[2].waits_for != "approval", each[2].order, each[1]),
        default=None,
    )


def views(play: Level, iteration: Iteration) -> list[dict[str, Any]]:
    """Return what `$prev` holds in an item, the innermost level first."""
    found = [play.prev]
    level: Level | None = play
    for index in iteration:
        loop = level.loop if level is not None else None
        if loop is None:
            break
        found.insert(0, {loop.ref: StepView(out=loop.item(index), state="RUN")})
        level = loop.open.get(index)
        if level is not None:
            found.insert(0, level.prev)
    return found


def open_items(play: Level, iteration: Iteration) -> int:
    """Return how many items the loops around an item have under way at once, all levels multiplied."""
    count, level = 1, play
    for index in iteration:
        if level.loop is None:
            break
        count *= min(level.loop.batch_size, len(level.loop.items))
        level = level.loop.open.get(index, level)
    return count


def collected_at(play: Level, iteration: Iteration, keys: tuple[str, ...]) -> list[Any]:
    """Return what an aggregator in this item gathers from each of its sources, nearest level first."""
    chain = [play]
    for depth in range(1, len(iteration) + 1):
        level = level_at(play, iteration[:depth])
        if level is not None:
            chain.insert(0, level)
    return [value for key in keys for value in _gathered(chain, key)]


def _gathered(chain: list[Level], key: str) -> list[Any]:
    ref, _, field = key.partition(".")
    for level in chain:
        if key in level.collected:
            return level.collected[key]
        if ref in level.layers:
            return _value_of(level.layers[ref], field)
    return []


def _value_of(run: LayerRun, field: str) -> list[Any]:
    return [value_at(run.out, field)] if run.state == "DONE" else []


# ── what events change ──────────────────────────────────────────────────────────────────────────────


def level_of(play: Level, iteration: Iteration) -> Level:
    """Return the level of an event; its first event opens an item."""
    level = play
    for index in iteration:
        loop = level.loop
        if loop is None:
            return Level()  # no history says so; if one does, it is of no loop that counts
        level = loop.open.setdefault(index, Level())
    return level


def iterating(play: Level, event: m.LayerIterating) -> None:
    """Open a loop."""
    level = level_of(play, event.iteration)
    collected: dict[str, list[Any]] = {key: [] for key in event.collects}
    level.loop = Loop(
        event.ref, list(event.items), event.batch_size, collects=event.collects, collected=collected
    )


def item_ended(play: Level, event: m.ItemEnded) -> None:
    """Drop an item; keep what is collected, shown and counted of it."""
    index = event.iteration[-1]
    level = level_of(play, event.iteration[:-1])
    loop = level.loop
    if loop is None:
        return
    item = loop.open.pop(index, None) or Level()
    _keep_failures(level, item)
    _count(level, item, depth=len(event.iteration))
    loop.ended[index] = [_given(loop, index, item, key) for key in loop.collects]
    loop.broken = loop.broken or event.failed
    _show(loop, Shown(index, event.failed, item.layers, item.prev))
    for ref, run in item.layers.items():
        best = loop.best.get(ref)
        if best is None or _rank(run) >= _rank(best):
            loop.best[ref] = run
    if len(loop.ended) == loop.batch_end - loop.start:
        _end_batch(loop)


def forget_collected(level: Level, refs: frozenset[str]) -> None:
    """Forget what loops gathered from these steps: a loop that begins anew may not come to it again."""
    level.collected = {
        key: values for key, values in level.collected.items() if key.partition(".")[0] not in refs
    }


def _keep_failures(level: Level, item: Level) -> None:
    failed = {(ref, run.iteration): run for ref, run in item.layers.items() if run.state == "FAIL"}
    # What is seen of a loop that closed in the item stands among its steps as well.
    failed |= {(ref, run.iteration): run for ref, runs in item.failures.items() for run in runs}
    for (ref, _), run in failed.items():
        if sum(map(len, level.failures.values())) >= FAILURES_KEPT_MAX:
            return
        if run.out is None or len(msgspec.json.encode(run.out)) <= FAILURE_OUT_BYTES_MAX:
            level.failures.setdefault(ref, []).append(run)


def _count(level: Level, item: Level, *, depth: int) -> None:
    counts = level.counts
    for ref, run in item.layers.items():
        # What is seen of a loop that closed in the item was counted with that.
        if len(run.iteration) == depth:
            states = counts.setdefault(ref, {})
            states[run.state] = states.get(run.state, 0) + 1
    for ref, inner in item.counts.items():
        states = counts.setdefault(ref, {})
        for state, count in inner.items():
            states[state] = states.get(state, 0) + count


def _given(loop: Loop, index: int, item: Level, key: str) -> list[Any]:
    if key in item.collected:
        return item.collected[key]
    ref, _, field = key.partition(".")
    if ref == loop.ref:
        return [value_at(loop.item(index), field)]
    run = item.layers.get(ref)
    return [] if run is None else _value_of(run, field)


def _show(loop: Loop, item: Shown) -> None:
    """Keep the first item that failed, else the last one; they may end in any order."""
    shown = loop.shown
    if shown is None or _weight(item) > _weight(shown):
        loop.shown = item


def _weight(item: Shown) -> tuple[bool, int]:
    return item.failed, -item.index if item.failed else item.index


def _rank(run: LayerRun) -> int:
    return _RANKS.get(run.state, 0)


def _end_batch(loop: Loop) -> None:
    for index in sorted(loop.ended):
        for key, values in zip(loop.collects, loop.ended[index], strict=True):
            loop.collected[key].extend(values)
    loop.start = loop.batch_end
    loop.ended = {}


def close(level: Level, ref: str) -> None:
    """Close the loop of this iterator, if it has one: what its items left becomes known at the level around it."""
    loop = level.loop
    if loop is None or loop.ref != ref:
        return
    level.loop = None
    level.collected.update(loop.collected)
    shown = loop.shown
    if shown is None:
        return
    level.prev.update(shown.prev)
    for name, run in shown.layers.items():
        best = loop.best[name]
        level.layers[name] = run if _rank(run) >= _rank(best) else best
        if shown.failed and run.state == "FAIL":
            level.failed.add(name)
