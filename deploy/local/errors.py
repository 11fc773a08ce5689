"""Why `headrace up` may refuse or fail to start; each message is a sentence for the person who typed it.

CannotStart
├── HomeBusy       another `up` runs on this home
├── PortTaken      something else listens on the port that was asked for
├── NotInstalled   an embedded server is wanted and its package is not there
└── StartFailed    a process died again and again, or was not ready in time
"""


class CannotStart(Exception):
    """The system cannot start."""


class HomeBusy(CannotStart):
    """Another `up` runs on this home."""


class PortTaken(CannotStart):
    """Something else listens on the port that was asked for."""


class NotInstalled(CannotStart):
    """An embedded server is wanted and its package is not there."""


class StartFailed(CannotStart):
    """A process died again and again, or was not ready in time."""


def reason(error: BaseException) -> CannotStart | None:
    """Return the first CannotStart in an error or a group of errors, or None."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := reason(inner))), None)
    return error if isinstance(error, CannotStart) else None
