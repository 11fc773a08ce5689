"""What a newer release wrote, as a process of an older one meets it: counted, and told once for each type."""

import structlog

from libs.common import metrics
from libs.common.codec import UnknownType

# No release brings as many; what is beyond counts together.
TYPES_TOLD_MAX = 100
OTHERS = "others"

log = structlog.get_logger(__name__)
_told: set[str] = set()


def note(error: UnknownType, *, what: str, subject: str, sequence: int) -> None:
    """Count a message that is left to a newer release; `what` says what is not done with it here."""
    name = error.type_name
    if name not in _told:
        if len(_told) >= TYPES_TOLD_MAX:
            name = OTHERS
        else:
            _told.add(name)
            log.warning("newer_release", what=what, type=name, subject=subject, sequence=sequence)
    metrics.NEWER.labels(name, what).inc()
