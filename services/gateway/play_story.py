"""What a play's history says that its state alone does not: whether it is held, what has ended, what waits. Pure."""

from typing import Any, NamedTuple

import msgspec

from libs.common.messages import play as m
from libs.common.messages.approval import Gate


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
            case m.PlayRetried():
                self.held = False
                self.ended -= set(event.refs)
            case m.PlaySnapshot(play=state) if self.started is None and state is not None:
                # The log has forgotten what was before it (D16).
                self._begin_with(state)
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

    def _begin_with(self, state: dict[str, Any]) -> None:
        self.started = msgspec.convert(
            {"flowVersion": state["flow_version"], "at": state["started_at"], **state},
            m.PlayStarted,
        )
        self.held = state.get("hold") is not None
        for ref, run in state["layers"].items():
            self.named.add((run["layer_id"], ref, ()))
            if run["state"] in m.TERMINAL:
                self.ended.add(ref)
            elif run["waits_for"] == "approval" and run["approval"] is None:
                gate = msgspec.convert(run.get("gate"), Gate | None)
                self.pending[ref] = Pending(ref, run["layer_id"], (), gate)
