"""Where the newest snapshot of a play lies: a header of each of its commits says it (ADR 26)."""

from libs.common.bus import Stored

# The stream sequence of the commit that holds the snapshot, or HERE on that commit itself.
HEADER = "Headrace-Snapshot"
HERE = "here"


def place_of(newest: Stored | None) -> int:
    """Return the place of a play's newest snapshot, told by its newest commit; 0 when it has none."""
    named = "" if newest is None else newest.headers.get(HEADER, "")
    if newest is not None and named == HERE:
        return newest.sequence
    return int(named) if named.isdigit() else 0
