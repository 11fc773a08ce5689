"""How a play's state is called on this surface, which has three vocabularies (spec flow-like section 11.1). Pure."""

from typing import Literal

from libs.common.messages.play import TERMINAL

JobStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
RunStatus = Literal["pending", "running", "completed", "failed", "cancelled", "timeout"]
# Codes of plays that somebody ended, rather than a mistake.
CANCELLED = frozenset({"CANCELLED", "APPROVAL_DECLINED"})
TIMEOUT = "TIMEOUT"
# A play that has not begun: accepted, or in line for a slot.
_IN_LINE = frozenset({"NEW", "DEFERRED"})


def run_status(state: str, error_code: str | None = None) -> RunStatus:
    """Return the word that executions use; `error_code` is the play's."""
    if state in _IN_LINE:
        return "pending"
    if state not in TERMINAL:
        return "running"
    if state != "FAIL":
        return "completed"
    if error_code in CANCELLED:
        return "cancelled"
    return "timeout" if error_code == TIMEOUT else "failed"


def job_status(state: str, error_code: str | None = None) -> JobStatus:
    """Return the word that jobs use; a passed deadline is a failure, which its error tells apart."""
    match run_status(state, error_code):
        case "pending":
            return "queued"
        case "timeout":
            return "failed"
        case word:
            return word


def titled(word: str) -> str:
    """Return the word as `/execution/run` and `/execution/poll` write it: `Running`."""
    return word.capitalize()
