"""Bugs of plays that are retried, or held, while they wait for a slot (ADR 36), planted on purpose."""

from collections.abc import Sequence
from typing import Any

from libs.common.messages import play as m
from libs.common.messages.lane import Seat
from libs.common.subjects import PlayKey
from services.executor import play_commands
from services.executor.admission import Admissions
from services.executor.commands import Commands
from services.executor.drive import Drive
from services.executor.history import History
from services.executor.play import Play
from services.executor.play_commands import ACK, Admission, Received
from tests.simulation.planting import Planted, swap

LATER = 99
RETRIED = "retried lanes"

# ── slots ───────────────────────────────────────────────────────────────────────────────────────────


async def _frees_all(self: Admissions, key: PlayKey, lanes: tuple[str, ...], retry: int) -> None:
    """A repeated free takes the slot of the retry."""
    await _free(self, key, lanes, retry + LATER)


_free = Admissions.free


async def _retries_at_once(self: Commands, given: Any, known: History, start: Any, *, retries: bool) -> Any:
    """A retry stands behind the slot of its own end, which nobody frees any more."""
    if retries:
        return await self._parts.admissions.admit_retry(given.key, known)
    return await _admit(self, given, known, start, retries=retries)


_admit = Commands._admit


async def _beside(self: Admissions, key: PlayKey, known: History) -> Admission:
    """A retry runs beside the limit, and says that it has a slot."""
    admission = await _admit_retry(self, key, known)
    return admission._replace(position=0)


_admit_retry = Admissions.admit_retry


# ── releases ────────────────────────────────────────────────────────────────────────────────────────


async def _looks_away(self: Admissions, key: PlayKey, lanes: tuple[str, ...], retry: int) -> None:
    """A release that overtakes the commit which puts a retry in line is lost."""
    del self, key, lanes, retry


async def _release_known(self: Admissions, of: PlayKey, seats: Sequence[Seat], *, by: str) -> None:
    """The release of a retry has the id of an earlier one, which the play knows."""
    del by
    for seat in seats:
        key = self._plays.key(of.company_id, seat.flow_id, seat.play_id)
        id = f"release-{seat.play_id}-{of.play_id}"
        await self._plays.send(key, "release", m.ReleasePlay(at=self._clock.now()), id=id)


async def _release_once(self: Admissions, of: PlayKey, seats: Sequence[Seat], *, by: str) -> None:
    """The end of a play lets another in by one lane and then by the next, under one id."""
    await _release(self, of, seats, by=by.rpartition("-")[0] or by)


_release = Admissions._release


def _released_twice(play: Play, command: Any, id: str, driver: m.Driver) -> Received:
    """A second release drives a play that runs already."""
    if isinstance(command, m.ReleasePlay) and id not in play.applied:
        return play_commands._released(play, command.at, driver, Admission())
    return _receive_running(play, command, id, driver)


_receive_running = play_commands._receive_running


# ── holds ───────────────────────────────────────────────────────────────────────────────────────────


_receive_deferred = play_commands._receive_deferred


def _deaf_in_line(play: Play, command: Any, id: str, driver: m.Driver, admission: Admission) -> Received:
    """9: a hold of a play in line is acknowledged, and forgotten."""
    if isinstance(command, m.HoldPlay | m.ResumePlay):
        return ACK
    return _receive_deferred(play, command, id, driver, admission)


def _overtakes(command: Any, driver: m.Driver, start: Any, admission: Admission) -> Received:
    """9: a hold that overtakes the start of a play is forgotten when that one has to wait."""
    if isinstance(command, m.HoldPlay) and admission.position:
        return ACK
    return _receive_unborn(command, driver, start, admission)


_receive_unborn = play_commands._receive_unborn


def _begin_unheld(self: Drive, events: tuple[m.PlayEvent, ...]) -> None:
    """9: a play that is held in line runs when its turn has come."""
    if self.play.status == "DEFERRED":
        self.play.hold = None
    _begin(self, events)


_begin = Drive.begin


LANES: dict[str, tuple[str, Planted]] = {
    "36 a repeated free takes the slot of a retry": (RETRIED, swap(Admissions, "free", _frees_all)),
    "36 a retry before its end is free": (RETRIED, swap(Commands, "_admit", _retries_at_once)),
    "36 a retry beside the limit": (RETRIED, swap(Admissions, "admit_retry", _beside)),
    "36 a release of a retry comes too early": ("frozen retry", swap(Admissions, "look", _looks_away)),
    "36 one release for two lanes": ("two limits", swap(Admissions, "_release", _release_once)),
    "36 a release of a retry is known": (RETRIED, swap(Admissions, "_release", _release_known)),
    "36 a retry in line driven twice": (
        "frozen retry",
        swap(play_commands, "_receive_running", _released_twice),
    ),
    "9 a hold in line forgotten": (RETRIED, swap(play_commands, "_receive_deferred", _deaf_in_line)),
    "9 a hold before the line forgotten": (RETRIED, swap(play_commands, "_receive_unborn", _overtakes)),
    "9 a play held in line runs": (RETRIED, swap(Drive, "begin", _begin_unheld)),
}
