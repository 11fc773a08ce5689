"""Bugs of what steps read and write of KV (ADR 27), planted on purpose."""

from typing import Any

import msgspec

from libs.common import ids
from libs.common.messages import play as m
from services.executor import attempts, play_outcomes
from services.executor.attempts import Attempts
from services.executor.modules import kv
from tests.simulation.planting import Planted, swap


def _started_unread(*args: Any, **rest: Any) -> Any:
    """ADR 27: what a step has read does not stand in the event that begins it."""
    return _started(*args, **(rest | {"read": ()}))


_started = play_outcomes.started


def _event_of_forgetful(self: Attempts, step: Any, outcome: Any, now: Any) -> Any:
    """ADR 27: an attempt that failed forgets what it has read, and the next one reads anew."""
    event = _event_of(self, step, outcome, now)
    self.readings.forget(step.name)
    return msgspec.structs.replace(event, read=()) if isinstance(event, m.LayerRetrying) else event


_event_of = Attempts._event_of


def _named_anew(*args: Any) -> dict[str, Any]:
    """17.7: a write has an id of its own on every run, so the store does not know it again."""
    return {**_named(*args), "id": ids.commit_id()}


_named = kv._named


def _unmasked(text: str, secrets: Any) -> str:
    """D14: the error of a step tells the secrets that it has read."""
    del secrets
    return text


ENTRIES: dict[str, Planted] = {
    "ADR 27 what was read is not kept": swap(attempts, "started", _started_unread),
    "ADR 27 a failed attempt forgets what it read": swap(Attempts, "_event_of", _event_of_forgetful),
    "17.7 a write repeated on redelivery": swap(kv, "_named", _named_anew),
    "D14 a secret in an error": swap(attempts, "masked_error", _unmasked),
}
