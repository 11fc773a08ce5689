"""What a play's history says that its state alone does not: whether it is held, what has ended, what waits. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from libs.common.messages import play as m
from libs.common.messages.approval import Gate
from libs.common.messages.play_seen import SeenLevel, SeenPlay


class Pending(NamedTuple):
    """A step that waits for a decision, and the rules of that decision, if it has any."""

    ref: str
    layer_id: str
    iteration: tuple[int, ...]
    gate: Gate | None


class Story(msgspec.Struct):
    """One play, told event by event with `tell`."""

    told: int = 0  # the place of the snapshot that it begins with
    started: m.PlayStarted | None = None
    definition: int = 0  # what it runs, or will run when it has its slot
    held: bool = False
    pending: dict[str, Pending] = {}  # by the name of the run
    ended: set[str] = set()  # steps outside of all loops, and those of loops that have ended
    looping: str = ""  # the outermost iterator whose items run
    items: dict[int, set[str]] = {}  # the steps that its open items have reached
    looped: set[str] = set()  # the steps of its items that have ended
    named: set[tuple[str, str, tuple[int, ...]]] = (
        set()
    )  # the runs that were reached: layer id, ref, iteration

    def tell(self, event: m.PlayEvent) -> None:
        """Take in the next event."""
        if isinstance(event, m.LayerEvent):
            self._tell_of_layer(event)
        match event:
            case m.PlayStarted():
                self.started, self.definition = event, event.definition
            case m.PlayDeferred():
                self.definition = event.start.definition
            case m.HoldRequested():
                self.held = True
            case m.HoldLifted():
                self.held = False
            case m.PlayRetried() | m.RetryDeferred():
                self.held = False
                self.ended -= set(event.refs)
            case m.PlaySnapshot() if self.started is None:
                # The log has forgotten what was before it (D16).
                self._begin_with(event)
            case _:
                pass

    def _tell_of_layer(self, event: m.LayerEvent) -> None:
        self.named.add((event.layer_id, event.ref, event.iteration))
        name = m.run_name(event.ref, event.iteration)
        match event:
            case m.LayerWaiting(kind="approval"):
                self.pending[name] = Pending(event.ref, event.layer_id, event.iteration, event.gate)
            case m.ApprovalVoted() | m.ApprovalEscalated() | m.ApprovalReminded():
                self.pending[name] = Pending(event.ref, event.layer_id, event.iteration, event.gate)
            case m.ApprovalDecided():
                self.pending.pop(name, None)
            case m.LayerIterating() if not event.iteration:
                self.looping, self.items, self.looped = event.ref, {}, set()
            case m.ItemEnded() if len(event.iteration) == 1:
                self.looped |= self.items.pop(event.iteration[0], set())
            case m.LayerCompleted() | m.LayerFailed():
                self.pending.pop(name, None)
                self._end(event.ref, event.iteration)
            case _:
                pass

    def _end(self, ref: str, iteration: tuple[int, ...]) -> None:
        if iteration:
            self.items.setdefault(iteration[0], set()).add(ref)
            return
        self.ended.add(ref)
        if ref == self.looping:
            self.ended |= self.looped
            self.looping, self.items, self.looped = "", {}, set()

    def _begin_with(self, event: m.PlaySnapshot) -> None:
        self.started = event.started
        for gate in event.gates:
            self._tell_of_layer(gate)
        if event.play is None:
            return
        seen = msgspec.convert(event.play, SeenPlay, str_keys=True)
        begins = self.started or seen.start
        self.definition = 0 if begins is None else begins.definition
        if self.started is not None:
            self.started = msgspec.structs.replace(self.started, args=seen.args)
        self.held = seen.hold is not None
        for ref, step in seen.layers.items():
            if step.state in m.TERMINAL:
                self.ended.add(ref)
        if seen.loop is not None:
            self.looping, self.looped = seen.loop.ref, set(seen.loop.best)
            self.items = {index: _ended_in(item) for index, item in seen.loop.open.items()}
        self.named |= set(_named(seen))


def _ended_in(item: SeenLevel) -> set[str]:
    ended = {ref for ref, step in item.layers.items() if step.state in m.TERMINAL}
    if item.loop is None:
        return ended
    return ended.union(item.loop.best, *map(_ended_in, item.loop.open.values()))


def _named(level: SeenLevel) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    for ref, step in level.layers.items():
        yield step.layer_id, ref, step.iteration
    if level.loop is not None:
        for ref, step in level.loop.best.items():
            yield step.layer_id, ref, step.iteration
        for item in level.loop.open.values():
            yield from _named(item)
