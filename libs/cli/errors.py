"""How a command ends: the exit codes, and the errors that carry them."""

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
LOGGED_OUT = 4
# What shells report for a program that a signal ended: 128 and the signal's number.
INTERRUPTED = 130
READER_GONE = 141


class CommandFailed(Exception):
    """A command that cannot go on: a sentence for a person, and the exit code for a script."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Answered(CommandFailed):
    """The API said no; `code` is its error code, `status` its HTTP status."""

    def __init__(self, status: int, code: str, message: str, exit_code: int = FAILED) -> None:
        super().__init__(f"{code}: {message}", exit_code)
        self.status = status
        self.code = code
