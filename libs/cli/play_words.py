"""The words of `headrace play hold`, `resume`, `retry` and `replay`."""

from libs.cli.words import Commands, Parser, command, pair, runs, with_url

PLAY = "6920e3f3aa9f2c1d04e9b7c1"
NOTED = (
    (
        "hold",
        "pause plays",
        "Pause plays: steps that run may end, nothing else begins. A held play waits until it is resumed or cancelled.",
    ),
    ("resume", "let held plays go on", "Let plays that are on hold go on."),
    (
        "retry",
        "run failed plays again from where they failed",
        """
Run failed plays again, each in the same play: the steps that failed, and those that were skipped because of them, begin
anew; what is done stays done. Cancelled plays can be retried, too.
""",
    ),
)


def add(plays: "Commands[Parser]") -> None:
    """Add the commands that operate plays."""
    for verb, short, told in NOTED:
        words = command(
            plays,
            verb,
            short,
            told,
            f'  headrace play {verb} {PLAY}\n  headrace play {verb} {PLAY} --note "why"',
        )
        words.add_argument("plays", metavar="PLAY", nargs="+", help="their ids")
        words.add_argument("--note", default="", metavar="TEXT", help="why; kept with the play")
        with_url(words)
        runs(words, "play_commands", verb)
    words = command(
        plays,
        "replay",
        "run a play again as a new one",
        """
Run a play again as a new play of the same version of its flow. With --from it takes over what the steps before that one
put out, and runs from there.
""",
        f"  headrace play replay {PLAY}\n  headrace play replay {PLAY} --from charge -a net=100",
    )
    words.add_argument("play", metavar="PLAY", help="the id of the play to repeat")
    words.add_argument("--from", dest="from_", metavar="STEP", help="the ref of the first step that runs")
    words.add_argument(
        "-a", "--arg", type=pair, action="append", metavar="KEY=VALUE", help="one field of the args"
    )
    words.add_argument("--args", metavar="JSON", help="what it starts with instead: an object, or @FILE")
    words.add_argument("--key", metavar="TEXT", help="idempotency key: a repeat starts nothing")
    words.add_argument("--force", action="store_true", help="even when the flow is disabled")
    with_url(words)
    runs(words, "play_commands", "replay")
