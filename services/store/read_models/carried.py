"""What a snapshot tells the read models of a play whose beginning the log has forgotten.

To a store that has seen the beginning it says nothing new.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec
import structlog

from libs.common.codec import encode
from libs.common.messages import play as m
from libs.common.messages.play_seen import SEEN_FROM_VERSION, SeenLevel, SeenPlay, SeenStep
from services.store.read_models import layers
from services.store.read_models.layers import LayerRow
from services.store.read_models.text import storable

Rows = dict[tuple[str, tuple[int, ...]], LayerRow]

log = structlog.get_logger(__name__)


def seen_play(event: m.PlaySnapshot) -> SeenPlay | None:
    """Return the play of a snapshot, None when it was written by a release that tells less, or has another shape."""
    if event.version < SEEN_FROM_VERSION or event.play is None:
        return None
    try:
        return msgspec.convert(event.play, SeenPlay, str_keys=True)
    except msgspec.ValidationError as error:
        log.warning("snapshot_unreadable", version=event.version, error=str(error))
        return None


def fold_steps(rows: Rows, play_id: str, seen: SeenPlay) -> None:
    """Fold the steps of a play into its rows of a batch, which know what the batch's own events said."""
    for ref, step, loops in _steps(seen):
        if step.state == "NEW" and not step.round:
            continue
        row = _row(play_id, ref, step, loops=loops)
        known = rows.setdefault((ref, step.iteration), row)
        if known is not row:
            _fill(known, row)
    for ref in {ref for ref, iteration in rows if iteration}:
        # Of a loop that a retry began anew: the steps that have come to an item.
        whole = rows.get((ref, ()))
        if whole is not None and whole.state == "NEW":
            del rows[ref, ()]


def ended_in_loops(seen: SeenPlay) -> Counter[tuple[str, str]] | None:
    """Return how many runs of each step have ended in which state in items of loops, by ref and state.

    None when nobody knows: the play was in the hands of a release that does not count.
    """
    return _ended(seen, (), Counter()) if seen.counted else None


def _ended(
    level: SeenLevel, at: tuple[int, ...], found: Counter[tuple[str, str]]
) -> Counter[tuple[str, str]]:
    for ref, states in level.counts.items():
        for state, count in states.items():
            found[ref, state] += count
    for ref, step in level.layers.items():
        # What is seen of a loop that closed here is of an item, and counted.
        if at and step.iteration == at and step.state in m.TERMINAL:
            found[ref, step.state] += 1
    if level.loop is not None:
        for index, item in level.loop.open.items():
            _ended(item, (*at, index), found)
    return found


def _steps(level: SeenLevel) -> Iterator[tuple[str, SeenStep, bool]]:
    """Return the steps of all levels, and of each whether it is an iterator whose items run."""
    loop = level.loop
    for ref, step in level.layers.items():
        yield ref, step, loop is not None and loop.ref == ref
    for ref, steps in level.failures.items():
        for step in steps:
            yield ref, step, False
    if loop is not None:
        for ref, step in loop.best.items():
            yield ref, step, False
        for item in loop.open.values():
            yield from _steps(item)


def _row(play_id: str, ref: str, step: SeenStep, *, loops: bool) -> LayerRow:
    if step.state == "NEW":
        return layers.again(play_id, ref, step.round, None)
    row = LayerRow(play_id, ref, step.layer_id, step.order, step.state, step.attempts)
    row.iteration, row.round, row.reused = step.iteration, step.round, step.reused
    row.started_at = step.started_at
    row.error = None if step.error is None else storable(step.error)
    row.error_code = step.error_code
    if step.approval is not None:
        row.approval = encode(step.approval).decode()
    elif step.gate is not None:
        row.approval = layers.pending(step.gate)
    if step.state in m.TERMINAL:
        row.completed_at = step.ended_at
        row.out = None if step.out is None else encode(step.out).decode()
        return row
    row.waits_for, row.until = step.waits_for or None, step.until
    if step.waits_for == "defer":
        row.state = "DEFERRED"
    if step.state == "RUN" and not loops:
        row.attempts += 1
    return row


def _fill(known: LayerRow, row: LayerRow) -> None:
    """Let a row that has only the events of this batch say the rest as well."""
    if known.state == "NEW":
        known.state, known.waits_for, known.until = row.state, row.waits_for, row.until
        known.layer_id, known.order = row.layer_id, row.order
    for name in ("started_at", "completed_at", "out", "error", "error_code", "approval"):
        if getattr(known, name) is None:
            setattr(known, name, getattr(row, name))
    known.attempts = max(known.attempts, row.attempts)
    known.round = max(known.round, row.round)
    known.reused = known.reused or row.reused
