"""The words of `headrace tap`."""

import argparse

from libs.cli.words import STATES, Commands, Parser, command, count, runs


def add(commands: "Commands[Parser]") -> None:
    """Add the command that prints what is on the bus."""
    words = command(
        commands,
        "tap",
        "print events of the bus as JSON lines",
        """
Print the CloudEvents of plays, one a line, straight from the bus and in the order of the log. Each has the extensions
`stream` and `sequence`: where it stands. The bus is HEADRACE_NATS_URL, or that of the system in HEADRACE_HOME; no login
is needed, and none is asked for: whoever reaches the bus sees every company.
""",
        """
  headrace tap
  headrace tap --state FAIL | jq -r .subject
  headrace tap --flow 6920e3f3aa9f2c1d04e9b7c1 --since 1    all that the log holds, and on
  headrace tap --since 4711 --count 10
""",
    )
    words.add_argument("--company", metavar="ID", help="only events of this company")
    words.add_argument(
        "--flow", metavar="ID", help="only events of this flow; its id, for the bus knows no names"
    )
    words.add_argument("--play", metavar="ID", help="only events of this play")
    words.add_argument(
        "--state",
        choices=STATES,
        metavar="STATE",
        help=f"only commits that leave the play in it: {' '.join(STATES)}",
    )
    words.add_argument(
        "--since", type=_sequence, metavar="SEQ", help="begin at this place of each stream (now)"
    )
    words.add_argument("-n", "--count", type=count, metavar="N", help="end after so many events")
    words.add_argument("--resolve", action="store_true", help="show big values in their places")
    runs(words, "tap", "tap")


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) > 0):
        raise argparse.ArgumentTypeError("expected the sequence of an event, from 1")
    return int(text)
