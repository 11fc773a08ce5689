"""Bugs of holds, retries and approvals with rules (spec flow8 sections 9 and 12), planted on purpose."""

from typing import Any

import msgspec

from libs.common.messages import approval
from libs.common.messages import play as m
from services.executor import drive as drive_module
from services.executor import play_commands, play_order
from services.executor.commands import Commands
from services.executor.drive import Drive
from services.executor.play import Play
from services.executor.play_levels import runs
from services.executor.play_outcomes import undecided
from tests.simulation.planting import Planted, swap

# ── holds ───────────────────────────────────────────────────────────────────────────────────────────


def _begin_forgetful(self: Drive, events: tuple[m.PlayEvent, ...]) -> None:
    """9: whoever resumes a play does not know what was decided while it was held."""
    if any(isinstance(event, m.HoldLifted) for event in events):
        for _, _, run in runs(self.play):
            run.approval = None if run.state == "WAIT" else run.approval
    _begin(self, events)


_begin = Drive.begin


def _facts_dropped(play: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """9: what people decide about a held play is acknowledged, and not written down."""
    if isinstance(command, m.ApprovePlay):
        return play_commands.ACK
    return _receive_on_hold(play, command, id, driver)


def _facts_drive(play: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """9: a decision about a held play lets it go on."""
    received = _receive_on_hold(play, command, id, driver)
    if received.action == "record" and isinstance(command, m.ApprovePlay):
        return play_commands._unpark(play, command, driver, "approval", *received.events)
    return received


_receive_on_hold = play_commands._receive_on_hold


def _advance_held(play: Play, plan: Any, now: Any) -> Any:
    """9: the driver of a play that is to be held begins what is ready all the same."""
    todo = _advance(play, plan, now)
    if not todo.held:
        return todo
    hold, play.hold = play.hold, None
    unheld = _advance(play, plan, now)
    play.hold = hold
    return unheld if unheld.ready else todo


_advance = play_order.advance


# ── retries ─────────────────────────────────────────────────────────────────────────────────────────


async def _any_end(self: Commands, known: Any, command: m.PlayCommand) -> Any:
    """9: a retry means whatever end it finds: a late one begins a later end anew."""
    if isinstance(command, m.RetryPlay):
        return await _restarts(self, known, type(command)(at=command.at, after=known.sequence))
    return None


_restarts = Commands._restarts


def _retry_twice(state: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """9: of two retries at once the second begins the play anew as well, while the first one drives it."""
    if isinstance(command, m.RetryPlay) and id not in state.applied and state.retries:
        number, epoch = state.retries + 1, state.epoch + 1
        retried = m.PlayRetried(at=command.at, epoch=epoch, driver=driver, number=number)
        return play_commands.Received("drive", (retried,))
    return _receive_running(state, command, id, driver)


_receive_running = play_commands._receive_running


def _retry_keeps_epoch(play: Play, *args: Any) -> Any:
    """R5: a retried play stays in the epoch of its end."""
    received = _receive_ended(play, *args)
    kept = tuple(
        msgspec.structs.replace(event, epoch=play.epoch) if isinstance(event, m.PlayRetried) else event
        for event in received.events
    )
    return received._replace(events=kept)


_receive_ended = play_commands._receive_ended


# ── approvals ───────────────────────────────────────────────────────────────────────────────────────


def _time_beats_decision(look: Any, step: Any, run: Any) -> None:
    """12: the time of an approval is looked at although it was decided."""
    gate = run.gate
    if run.waits_for == "approval" and gate is not None and gate.timeout_at and gate.timeout_at <= look.now:
        look.events.append(undecided(step, gate, look.now))
        return
    _advance_waiting(look, step, run)


_advance_waiting = play_order._advance_waiting


def _time_too_early(look: Any, step: Any, run: Any) -> None:
    """12: whatever wakes the play is taken for the end of the time to decide."""
    if run.gate is not None and run.gate.timeout_at is not None:
        now_due = msgspec.structs.replace(run.gate, timeout_at=look.now)
        look.events.append(undecided(step, now_due, look.now))


def _votes_twice(gate: Any, by: str) -> bool:
    """12: one person's word counts as often as it is said."""
    del gate, by
    return False


OPERATED: dict[str, tuple[str, Planted]] = {
    "9 resume forgets what was decided": ("operated", swap(Drive, "begin", _begin_forgetful)),
    "9 a held play hears nothing": ("operated", swap(play_commands, "_receive_on_hold", _facts_dropped)),
    "9 a held play is driven": ("operated", swap(play_commands, "_receive_on_hold", _facts_drive)),
    "9 a play to be held begins more": ("operated", swap(drive_module, "advance", _advance_held)),
    "9 a retry of any end": ("operated", swap(Commands, "_restarts", _any_end)),
    "9 a retry counted twice": ("operated", swap(play_commands, "_receive_running", _retry_twice)),
    "R5 a retry keeps the epoch": ("operated", swap(play_commands, "_receive_ended", _retry_keeps_epoch)),
    "12 a timeout after the decision": (
        "operated",
        swap(play_order, "_advance_waiting", _time_beats_decision),
    ),
    "12 a timeout before its time": ("operated", swap(play_order, "_advance_gate", _time_too_early)),
    "12 one person votes twice": ("operated", swap(approval, "has_voted", _votes_twice)),
}
