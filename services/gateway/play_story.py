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

    started: m.PlayStarted | None = None
    held: bool = False
    pending: dict[str, Pending] = {}  # by the name of the run
    ended: set[str] = set()  # steps outside of all loops
    named: set[tuple[str, str, tuple[int, ...]]] = (
        set()
    )  # the runs that were reached: layer id, ref, iteration

    def tell(self, event: m.PlayEvent) -> None:
        """Take in the next event."""
        if isinstance(event, m.LayerEvent):
            self._tell_of_layer(event)
        match event:
            case m.PlayStarted():
                self.started = event
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
            case m.LayerCompleted() | m.LayerFailed():
                self.pending.pop(name, None)
                if not event.iteration:
                    self.ended.add(event.ref)
            case _:
                pass

    def _begin_with(self, event: m.PlaySnapshot) -> None:
        self.started = event.started
        for gate in event.gates:
            self._tell_of_layer(gate)
        if event.play is None:
            return
        seen = msgspec.convert(event.play, SeenPlay, str_keys=True)
        if self.started is not None:
            self.started = msgspec.structs.replace(self.started, args=seen.args)
        self.held = seen.hold is not None
        for ref, step in seen.layers.items():
            if step.state in m.TERMINAL and not step.iteration:
                self.ended.add(ref)
        self.named |= set(_named(seen))


def _named(level: SeenLevel) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    for ref, step in level.layers.items():
        yield step.layer_id, ref, step.iteration
    if level.loop is not None:
        for ref, step in level.loop.best.items():
            yield step.layer_id, ref, step.iteration
        for item in level.loop.open.values():
            yield from _named(item)
