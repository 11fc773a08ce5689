"""Becomes another program that cannot outlive its parent: drop privileges, ask for the signal, exec.

Run as `python -I -S tether.py PARENT_PID SIGNAL USER ARGV...`; USER is `-` to stay who we are. It is a program of its
own because prctl must run between fork and exec, where a parent with threads can do nothing safely, and after the
change of user, which takes the request back.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def tethered(command: tuple[str, ...], orphan_signal: int, user: str | None = None) -> tuple[str, ...]:
    """Return the command line that becomes `command`, as `user`, and gets `orphan_signal` when this process dies."""
    return (
        sys.executable,
        "-I",
        "-S",
        __file__,
        str(os.getpid()),
        str(int(orphan_signal)),
        user or "-",
        *command,
    )


def main(argv: list[str]) -> None:
    """Replace this process by ARGV. Exits 1 when the parent is gone already."""
    parent_pid, orphan_signal, user, *command = argv
    # Loaded before the change of user, who may not be able to read where Python lives.
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if user != "-":
        _become(user)
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
    if os.getppid() != int(parent_pid):
        sys.exit("the parent is gone")
    os.execv(command[0], command)  # noqa: S606  # exec without a shell is the purpose


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main(sys.argv[1:])
