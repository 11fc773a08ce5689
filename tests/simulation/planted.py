"""Bugs planted on purpose, each the loss of one rule of the ownership protocol; the simulation must find every one.

They are patches of the executor's own code, applied around a world. The comment names the counterexample (C1 to C16) or
the rule (R1 to R15) of the protocol; README.md has them all in a table.
"""

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from libs.common import bus as bus_module
from libs.common import group
from libs.common.bus import Expected
from libs.common.codec import Commit
from libs.common.consumer import Delivery
from libs.common.errors import Conflict
from libs.common.group import GroupCommit
from libs.common.messages import play as m
from libs.common.payloads import Payloads
from services.executor import commands as commands_module
from services.executor import history, play, play_commands, play_snapshot
from services.executor import journal as journal_module
from services.executor.app import App
from services.executor.commands import Commands
from services.executor.drive import Drive
from services.executor.effects import Effects
from services.executor.journal import Fenced, Journal, Redecide
from services.executor.play import Play
from tests.simulation.planted_loops import LOOPS
from tests.simulation.planted_operated import OPERATED
from tests.simulation.planting import Planted, swap

# ── conflicts ───────────────────────────────────────────────────────────────────────────────────────


async def _reconcile_without_own(self: Journal, commit_id: str) -> bool:
    """R1, C1: an own commit whose acknowledgement was lost is taken for somebody else's."""
    known = await self._load_until_moved()
    if not self._established:
        raise Redecide
    self._take(known)
    self._check_epoch()
    outcomes, self._outcomes, self._buffer = self._outcomes, [], []
    for event in outcomes:
        self.record_outcome(event)
    return False


def _keep_nothing(self: Journal, event: Any) -> None:
    """R2, C2: after a conflict the outcome of an effect is forgotten, and so computed again."""
    del self, event


def _keep_twice(self: Journal, event: Any) -> None:
    """I6: after a conflict an outcome is kept twice: a failed attempt counts double."""
    self.record(event)
    self.record(event)


def _never_parked(self: Drive) -> bool:
    """R1: the own parking, behind what others appended since, or behind their snapshot, is taken for none."""
    del self
    return False


def _never_fenced(self: Journal) -> None:
    """C5, C12: a driver goes on although the play has another."""


def _fenced_always_acks(self: Journal) -> None:
    """R6, C3: a driver that lost the play to its own command's redelivery acknowledges on its way out."""
    if self.play.epoch != self.epoch:
        raise Fenced(foreign=True)


def _no_expectation(*args: Any, **kwargs: Any) -> Any:
    """D3: appends without the optimistic lock."""
    kwargs["expected"] = None
    return _append(*args, **kwargs)


_append = bus_module.Bus.append


# ── who drives ──────────────────────────────────────────────────────────────────────────────────────


_receive_running = play_commands._receive_running


def _any_redelivery_fences(state: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """R3, C4: whatever is redelivered takes the play over, not only its driving command."""
    if driver.delivery > 1:
        return play_commands.Received(
            "drive", play_commands._take_over(state, command.at, driver, "redelivery")
        )
    return _receive_running(state, command, id, driver)


def _any_delivery_fences(state: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """R4, C11: the driving command fences whatever its delivery number."""
    if state.driver is not None and state.driver.sequence == driver.sequence:
        return play_commands.Received(
            "drive", play_commands._take_over(state, command.at, driver, "redelivery")
        )
    return _receive_running(state, command, id, driver)


def _redelivery_is_acked(state: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """C1, C3: a redelivered driving command is taken for done: it is in the state already."""
    if id in state.applied:
        return play_commands.ACK
    return _receive_running(state, command, id, driver)


def _revive_never_asks(state: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """D5: a revive takes the play from a driver that lives."""
    received = _receive_running(state, command, id, driver)
    return received._replace(action="drive") if received.action == "ask_driver" else received


def _unpark_keeps_epoch(state: Play, command: Any, id: str, driver: m.Driver) -> Any:
    """R5, C6: a play that goes on after a wait stays in its epoch."""
    received = _receive_parked(state, command, id, driver)
    events = [
        msgspec.structs.replace(event, epoch=state.epoch) if isinstance(event, m.PlayResumed) else event
        for event in received.events
    ]
    return received._replace(events=tuple(events))


_receive_parked = play_commands._receive_parked


# ── commands ────────────────────────────────────────────────────────────────────────────────────────


def _forget_commands(state: Play, commit: Commit) -> None:
    """R10, C13: the ids of applied commands are not kept."""
    for event in commit.events:
        play.evolve(state, event)


def _receive_after_the_end(state: Play, command: Any, **rest: Any) -> Any:
    """R13, C14: a command that finds the play ended takes it over all the same."""
    if state.ended and rest["driver"].delivery > 1:
        return play_commands.Received(
            "drive", play_commands._take_over(state, command.at, rest["driver"], "redelivery")
        )
    return _receive(state, command, **rest)


_receive = play_commands.receive


async def _no_start_command(bus: Any, payloads: Any, key: Any) -> None:
    """R9, C10: a cancel that overtakes its start is refused."""
    del bus, payloads, key


async def _ack_unseen(
    self: Commands, key: Any, delivery: Delivery, envelope: Any, known: history.History
) -> None:
    """D3: a refusal rests on a replica's word."""
    context = commands_module._context(key, envelope)
    await journal_module.publish_timer(self._parts.bus, key, known.play, known.sequence, context)
    await delivery.ack()


def _nobody_else(given: Any, state: Play) -> bool:
    """R15: a command is taken under a redelivery although somebody may be about to acknowledge an earlier delivery."""
    del given, state
    return False


async def _record_first(self: Commands, key: Any, delivery: Delivery, *rest: Any) -> None:
    """Order: the command is acknowledged before its fact is durable."""
    await delivery.ack()
    await _record(self, key, delivery, *rest)


_record = Commands._record


# ── timers ──────────────────────────────────────────────────────────────────────────────────────────


async def _no_timer_again(
    self: Commands, key: Any, delivery: Delivery, envelope: Any, known: history.History
) -> None:
    """R7, C7: whoever finds a play parked does not set its timer again."""
    del envelope
    if await history.last_sequence(self._parts.bus, key, leader=True) != known.sequence:
        raise Conflict("moved")
    await delivery.ack()


async def _timer_first(self: Drive, until: datetime | None) -> bool:
    """R7, C8: the timer is set before the wait is durable, so its wake may come to a play that does not wait yet."""
    wait_id = f"{self.key.play_id}-{self.journal.sequence}"
    ahead = Play(status="WAIT", wait_id=wait_id, wait_until=until)
    await journal_module.publish_timer(
        self._parts.bus, self.key, ahead, self.journal.sequence, self.journal.context
    )
    self.journal.record(m.PlayWaiting(at=self._now(), wait_id=wait_id, until=until))
    return await self.journal.commit()


async def _park_without_timer(self: Drive, until: datetime | None) -> bool:
    """C7: the timer is forgotten altogether."""
    self.journal.record(
        m.PlayWaiting(at=self._now(), wait_id=f"{self.key.play_id}-{self.journal.sequence}", until=until)
    )
    return await self.journal.commit()


async def _timer_unlocked(self: Any, *args: Any, expected: Expected | None = None, **kwargs: Any) -> Any:
    """R8, C9: a timer does not carry its wait's sequence, so a stale driver replaces the one that counts."""
    del expected
    return await _schedule(self, *args, **kwargs)


_schedule = bus_module.Bus.schedule


# ── effects ─────────────────────────────────────────────────────────────────────────────────────────


async def _effect_unchecked(self: Effects, step: Any, args: dict[str, Any]) -> None:
    """R11, C12: an effect starts after a pause without a look at the log."""
    self._journal.sure_at = self._parts.clock.monotonic_s()
    await _effect(self, step, args)


_effect = Effects._run


async def _look_away(self: Drive) -> None:
    """R12, C15: the heartbeat does not look at the log; together with lost nudges nothing tells of a cancel."""
    del self


async def _no_heartbeat(self: Drive) -> None:
    """D5: no signs of life."""
    del self


async def _unbarred_commit(self: Journal) -> bool:
    """D6: no barrier before effects; the commit comes some time later."""
    if any(isinstance(event, m.LayerStarted) for event in self._buffer) and not self.play.ended:
        return True
    return await _commit(self)


_commit = Journal.commit


async def _reload_once_for_all(self: Journal) -> None:
    """A reload that finds nothing new does not count as a look: the driver that paused reloads for ever."""
    sure_at = self.sure_at
    await _reload(self)
    self.sure_at = sure_at


_reload = Journal.reload


async def _ack_at_once(self: Commands, *args: Any, **kwargs: Any) -> Any:
    """D5: the driving command is acknowledged when the driving begins."""
    await args[0].delivery.ack()
    return await _drive(self, *args, **kwargs)


_drive = Commands._drive


async def _control_slot_kept(self: App, delivery: Delivery) -> None:
    """R14, C16: a control command that drives keeps its slot until the play ends."""
    assert self._commands is not None
    await self._commands.handle(delivery)


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────


def _take_blindly(self: GroupCommit) -> Any:
    """D3: two commits of one play travel in one batch, where the server does not hold them against each other."""
    return [self._queue.popleft() for _ in range(min(len(self._queue), group.BATCH_MAX))]


# ── snapshots and big values ────────────────────────────────────────────────────────────────────────


def _snapshot_without(**lost: Any) -> Any:
    def snapshot(state: Play, at: datetime) -> m.PlaySnapshot:
        return _snapshot_of(msgspec.structs.replace(state, **lost), at)

    return snapshot


def _snapshot_without_delivery(state: Play, at: datetime) -> m.PlaySnapshot:
    """D16: a snapshot misses the driver's delivery number."""
    driver = None if state.driver is None else m.Driver(state.driver.sequence, 0)
    return _snapshot_of(msgspec.structs.replace(state, driver=driver), at)


def _snapshot_without_gates(state: Play, at: datetime) -> m.PlaySnapshot:
    """D16: a snapshot loses the steps that wait for an approval."""
    open_steps = {ref: run for ref, run in state.layers.items() if run.waits_for != "approval"}
    return _snapshot_of(msgspec.structs.replace(state, layers=open_steps), at)


_snapshot_of = play_snapshot.snapshot_of


async def _append_later(self: Payloads, subject: str, chunk: bytes, deadline_s: float | None) -> None:
    """D13: the commit does not wait for the values that it refers to."""
    asyncio.get_running_loop().create_task(_append_chunk(self, subject, chunk, deadline_s))


_append_chunk = Payloads._append


# By name: the bug, and the kind of world that is made for it ("" for any).
PLANTED: dict[str, tuple[str, Planted]] = {
    **LOOPS,
    **OPERATED,
    "R1 own commit not recognised": ("deaf", swap(Journal, "_reconcile", _reconcile_without_own)),
    "R1 own parking not recognised behind a snapshot": ("carried", swap(Drive, "_is_parked", _never_parked)),
    "R2 outcome computed again": ("race", swap(Journal, "_keep", _keep_nothing)),
    "R3 any redelivery fences": ("all", swap(play_commands, "_receive_running", _any_redelivery_fences)),
    "R4 any delivery fences": ("all", swap(play_commands, "_receive_running", _any_delivery_fences)),
    "R5 un-park keeps the epoch": ("", swap(play_commands, "_receive_parked", _unpark_keeps_epoch)),
    "R6 a fenced driver always acks": ("all", swap(Journal, "_check_epoch", _fenced_always_acks)),
    "R7 timer not set again": ("sharp", swap(Commands, "_ack", _no_timer_again)),
    "R7 timer before the wait": ("sharp", swap(Drive, "_park", _timer_first)),
    "R7 no timer": ("", swap(Drive, "_park", _park_without_timer)),
    "R8 timer without its lock": ("late", swap(bus_module.Bus, "schedule", _timer_unlocked)),
    "R9 early cancel refused": ("calm", swap(history, "start_command", _no_start_command)),
    "R10 command ids forgotten": ("quiet", swap(play, "evolve_commit", _forget_commands)),
    "R11 effect after a pause": ("sharp", swap(Effects, "_run", _effect_unchecked)),
    "R11 endless reload": ("sharp", swap(Journal, "reload", _reload_once_for_all)),
    "R12 nobody looks at the log": ("quiet", swap(Drive, "look", _look_away)),
    "R13 take-over after the end": ("", swap(commands_module, "receive", _receive_after_the_end)),
    "R14 control slot kept": ("gates", swap(App, "_handle_control", _control_slot_kept)),
    "R15 taken under a redelivery": ("stale", swap(commands_module, "_may_be_acked_by_others", _nobody_else)),
    "C1 redelivery taken for done": ("", swap(play_commands, "_receive_running", _redelivery_is_acked)),
    "C5 never fenced": ("sharp", swap(Journal, "_check_epoch", _never_fenced)),
    "D3 no optimistic lock": ("", swap(bus_module.Bus, "append", _no_expectation)),
    "D3 two commits of a play in one batch": ("crowd", swap(GroupCommit, "_take", _take_blindly)),
    "D3 refusal by a replica": ("race", swap(Commands, "_ack", _ack_unseen)),
    "D5 no signs of life": ("gates", swap(Drive, "keep", _no_heartbeat)),
    "D5 acknowledged too early": ("", swap(Commands, "_drive", _ack_at_once)),
    "D5 fact acknowledged too early": ("", swap(Commands, "_record", _record_first)),
    "D5 revive does not ask": ("calm", swap(play_commands, "_receive_running", _revive_never_asks)),
    "D13 a commit before its value": ("short", swap(Payloads, "_append", _append_later)),
    "D16 snapshot without the delivery": (
        "short",
        swap(journal_module, "snapshot_of", _snapshot_without_delivery),
    ),
    "D16 snapshot without open approvals": (
        "short",
        swap(journal_module, "snapshot_of", _snapshot_without_gates),
    ),
    "D16 snapshot without the wait": (
        "short",
        swap(journal_module, "snapshot_of", _snapshot_without(wait_id="")),
    ),
    "D16 snapshot without applied commands": (
        "short",
        swap(journal_module, "snapshot_of", _snapshot_without(applied={})),
    ),
    "D6 no barrier": ("", swap(Journal, "commit", _unbarred_commit)),
    "I6 outcome kept twice": ("race", swap(Journal, "_keep", _keep_twice)),
}
