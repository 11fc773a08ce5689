"""What an expression sees: the play's data, its time and its seed, all handed in."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from libs.expressions.errors import Fault
from libs.expressions.limits import OUTPUT_BYTES_MAX, WORK_BYTES_MAX

VIRTUAL_FIELDS = frozenset({"state", "error", "approval"})


class StepView(msgspec.Struct, frozen=True):
    """A step as `$prev.<ref>` shows it: its output, and beside it how it went (flow8 section 7)."""

    out: Any = None
    state: str = ""
    error: str | None = None
    approval: Any = None

    @property
    def whole(self) -> Any:
        """`$prev.<ref>` itself: the output; a filtered step, which has none, shows its state."""
        if self.out is None and self.state == "FILTERED":
            return {"state": "FILTERED"}
        return self.out

    def virtual(self, name: str) -> Any:
        """`.state`, `.error` or `.approval`, unless the output has a field of that name."""
        if isinstance(self.out, dict) and name in self.out:
            return self.out[name]
        return getattr(self, name)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Everything outside an expression; the same scope gives the same values, in any process.

    `prev` holds `args` and one entry per ref, a `StepView` or a plain JSON value. `now` is aware. `seed` feeds
    `$rand` and should name play, step and iteration. `kv` maps the keys of `NeedsValue` to values.
    All values are shared, never copied: whoever receives one only reads it.
    """

    prev: Mapping[str, Any]
    flow_id: str
    play_id: str
    company_id: str
    now: datetime
    seed: str
    kv: Mapping[tuple[Any, ...], Any] = {}


class Frame(msgspec.Struct):
    """One evaluation: the scope, what `.` and the variables stand for, and what is left of work and output."""

    scope: Any  # a Scope; None only where the compiler refuses everything that reads it
    dot: Any = None
    room: int = OUTPUT_BYTES_MAX
    work: int = WORK_BYTES_MAX
    draws: int = 0
    variables: list[Any] = []

    def spend(self, work_bytes: int) -> None:
        """Take from the work left, before the work is done. Raises Fault when that is not enough."""
        self.work -= work_bytes
        if self.work < 0:
            raise Fault("this is more work than one evaluation may do")

    def emit(self, output_bytes: int) -> None:
        """Take from the room left for output, before it is put together. Raises Fault when that is not enough."""
        self.room -= output_bytes
        if self.room < 0:
            raise Fault("the result is larger than a result may be")
