"""What the items of loops must keep, by the log alone: each ends once, none is left out, all are gathered in order.

An aggregator that is named `all_<ref>` gathers the whole outputs of the step `<ref>`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from libs.common.messages import play as m
from services.executor.play_levels import Iteration

GATHERS = "all_"
Fail = Callable[[str, str], None]


class LoopSeen(msgspec.Struct):
    """One loop as the log has it."""

    total: int
    batch_size: int
    ended: set[int] = set()
    failed: bool = False


class Items:
    """Follows the loops of one play."""

    def __init__(self) -> None:
        self.loops: dict[str, LoopSeen] = {}
        self.outs: dict[str, dict[Iteration, Any]] = {}
        self._under_way: set[tuple[str, Iteration]] = set()

    def see(self, event: m.LayerEvent, fail: Fail) -> None:
        """Take in one event; call `fail` with the law that it breaks."""
        if event.iteration and not isinstance(event, m.ItemEnded):
            self._check_batch(event, fail)
        match event:
            case m.LayerIterating():
                name = m.run_name(event.ref, event.iteration)
                if name in self.loops:
                    fail("I6", f"{name} iterates twice")
                self.loops[name] = LoopSeen(len(event.items), event.batch_size)
            case m.ItemEnded():
                self._item_ended(event, fail)
            case m.LayerCompleted() | m.LayerFailed():
                self._under_way.discard((event.ref, event.iteration))
                self._ended(event, fail)
            case m.LayerStarted() | m.LayerWaiting() | m.LayerRetrying():
                self._under_way.add((event.ref, event.iteration))

    def begin_anew(self, refs: tuple[str, ...]) -> Callable[[str], bool]:
        """Forget what a retry begins anew: these steps, and all items with a loop; tell which names of runs that is."""
        with_items = any(name.partition(":")[0] in refs for name in self.loops)

        def is_anew(name: str) -> bool:
            ref, _, item = name.partition(":")
            return ref in refs or (with_items and bool(item))

        self.loops = {name: loop for name, loop in self.loops.items() if not is_anew(name)}
        self.outs = {
            ref: {at: out for at, out in outs.items() if not is_anew(m.run_name(ref, at))}
            for ref, outs in self.outs.items()
        }
        self._under_way = {(ref, at) for ref, at in self._under_way if not is_anew(m.run_name(ref, at))}
        return is_anew

    def _loop_around(self, iteration: Iteration) -> LoopSeen | None:
        # Loops at one level follow each other: the one that began last is the one that runs.
        outer = ".".join(map(str, iteration[:-1]))
        around = [loop for name, loop in self.loops.items() if name.partition(":")[2] == outer]
        return around[-1] if around else None

    def _check_batch(self, event: m.LayerEvent, fail: Fail) -> None:
        loop, index = self._loop_around(event.iteration), event.iteration[-1]
        name = m.run_name(event.ref, event.iteration)
        if loop is None:
            fail("17.1", f"{name} is in no loop")
            return
        if index in loop.ended:
            fail("17.1", f"{name} goes on in an item that has ended")
        first = index - index % loop.batch_size
        if not loop.ended.issuperset(range(first)):
            fail("17.1", f"{name} runs before the batches before its own have ended")

    def _item_ended(self, event: m.ItemEnded, fail: Fail) -> None:
        *outer, index = event.iteration
        loop = self.loops[m.run_name(event.ref, tuple(outer))]
        if index in loop.ended:
            fail("I6", f"item {event.iteration} of {event.ref} ended twice")
        depth = len(event.iteration)
        left = [name for name, at in self._under_way if at[:depth] == event.iteration]
        if left:
            fail("I5", f"item {event.iteration} of {event.ref} ended while {left} are under way")
        loop.ended.add(index)
        loop.failed = loop.failed or event.failed

    def _ended(self, event: m.LayerCompleted | m.LayerFailed, fail: Fail) -> None:
        done = isinstance(event, m.LayerCompleted) and event.state == "DONE"
        loop = self.loops.get(m.run_name(event.ref, event.iteration))
        if loop is not None and done and not loop.failed and len(loop.ended) != loop.total:
            fail("I5", f"{event.ref} ended after {len(loop.ended)} of {loop.total} items")
        if isinstance(event, m.LayerCompleted) and done:
            self.outs.setdefault(event.ref, {})[event.iteration] = event.out
            if event.ref.startswith(GATHERS):
                self._check_gathered(event, fail)

    def _check_gathered(self, event: m.LayerCompleted, fail: Fail) -> None:
        outs = self.outs.get(event.ref.removeprefix(GATHERS), {})
        depth = len(event.iteration)
        expected = [outs[at] for at in sorted(outs) if at[:depth] == event.iteration]
        if event.out != {"items": expected, "count": len(expected)}:
            fail("17.1", f"{event.ref} gathered {event.out['items']} instead of {expected}")
