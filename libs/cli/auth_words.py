"""The words of `headrace login`, `logout` and `whoami`."""

from libs.cli.words import Commands, Parser, command, runs, with_output, with_url


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about the session."""
    words = command(
        commands,
        "login",
        "open a session",
        """
Open a session and keep it, in a file that only you may read, for one hour of calls. Without arguments it finds the
system that runs in HEADRACE_HOME (.headrace) and logs in as its admin. The password comes from HEADRACE_PASSWORD, or
is asked for; it is never an argument, for those can be seen by others. Programs need no login: commands use the API
key in HEADRACE_API_KEY where it is set.
""",
        """
  headrace login                                            the system on this machine
  headrace login --url http://flows:4454 --email ann@example.com
  HEADRACE_PASSWORD=$SECRET headrace login --email ci@example.com
""",
    )
    with_url(words)
    words.add_argument("--email", metavar="EMAIL", help="who logs in")
    runs(words, "auth_commands", "log_in")
    words = command(
        commands,
        "logout",
        "end the session",
        "End the session, at every gateway at once, and forget it here.",
        "  headrace logout\n  headrace logout --url http://flows:4454",
    )
    with_url(words)
    runs(words, "auth_commands", "log_out")
    words = command(
        commands,
        "whoami",
        "show who is logged in, and where",
        "Show the user of the session, its role, and the system that commands talk to.",
        "  headrace whoami\n  headrace whoami -o json",
    )
    with_url(words)
    with_output(words)
    runs(words, "auth_commands", "who_am_i")
