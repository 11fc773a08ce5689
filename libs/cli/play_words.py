"""The words of `headrace play`."""

from libs.cli.words import (
    PLAYS_SHOWN,
    STATES,
    Commands,
    Parser,
    command,
    family,
    pair,
    remote,
    runs,
    with_limit,
    with_url,
)

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


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about plays."""
    plays = family(
        commands,
        "play",
        "look at plays, and decide about them",
        "What runs and ran. PLAY is a play's id.",
        """
  headrace play list --state FAIL
  headrace play watch 6920e3f3aa9f2c1d04e9b7c1
  headrace play approve 6920e3f3aa9f2c1d04e9b7c1 --note "looks right"
""",
    )
    _readers(plays)
    _deciders(plays)
    _operators(plays)


def _readers(plays: "Commands[Parser]") -> None:
    words = command(
        plays,
        "list",
        "list plays",
        "List plays, newest first.",
        "  headrace play list --flow invoice-check --state FAIL\n  headrace play list --from 2026-01-01 -n 100 -o json",
    )
    words.add_argument("--flow", metavar="FLOW", help="only those of this flow")
    words.add_argument(
        "--state", choices=STATES, metavar="STATE", help=f"only those in it: {' '.join(STATES)}"
    )
    words.add_argument("--from", dest="from_", metavar="TIME", help="made on this day (2026-01-31), or later")
    words.add_argument("--to", metavar="TIME", help="made on this day, or earlier")
    with_limit(words, PLAYS_SHOWN)
    remote(words, "play_commands", "list_")
    words = command(
        plays,
        "show",
        "show a play and its steps",
        "Show one play: its state, its result, and each step it has reached.",
        "  headrace play show 6920e3f3aa9f2c1d04e9b7c1\n  headrace play show 6920e3f3aa9f2c1d04e9b7c1 -o json",
    )
    words.add_argument("play", metavar="PLAY", help="its id")
    remote(words, "play_commands", "show")
    words = command(
        plays,
        "watch",
        "print events as they happen",
        """
Print what happens to a play, one line per event, from its beginning to its end; or, without one, what happens to all
plays from now on. A connection that breaks is resumed without gaps or repeats. With -o json the frames themselves, one
a line. The exit code tells how the play ended: 0, or 1 when it failed.
""",
        """
  headrace play watch 6920e3f3aa9f2c1d04e9b7c1
  headrace play watch --flow invoice-check
  headrace play watch --since 0 -o json                     all that the log holds, and on
""",
    )
    words.add_argument("play", metavar="PLAY", nargs="?", help="its id; all plays without one")
    words.add_argument("--flow", metavar="FLOW", help="without PLAY: only plays of this flow")
    words.add_argument(
        "--since", metavar="SEQUENCE", help="without PLAY: go on after this frame; 0 is the beginning"
    )
    remote(words, "play_commands", "watch_")


def _deciders(plays: "Commands[Parser]") -> None:
    words = command(
        plays,
        "cancel",
        "end plays that have not ended",
        "End plays: a step that runs is abandoned, and the play fails with CANCELLED.",
        "  headrace play cancel 6920e3f3aa9f2c1d04e9b7c1\n"
        "  headrace play list --state WAIT -o json | jq -r '.[].id' | xargs headrace play cancel",
    )
    words.add_argument("plays", metavar="PLAY", nargs="+", help="their ids")
    with_url(words)
    runs(words, "play_commands", "cancel")
    for verb, what in (("approve", "let a waiting step run"), ("decline", "let a waiting step fail")):
        words = command(
            plays,
            verb,
            what,
            f"Decide about a step that waits for a person: {what}. STEP may be left out when only one waits.",
            f"  headrace play {verb} 6920e3f3aa9f2c1d04e9b7c1\n"
            f'  headrace play {verb} 6920e3f3aa9f2c1d04e9b7c1 sign --note "by phone"',
        )
        words.add_argument("play", metavar="PLAY", help="its id")
        words.add_argument("step", metavar="STEP", nargs="?", help="its ref, or the id of its layer")
        words.add_argument("--note", default="", metavar="TEXT", help="why; kept with the decision")
        with_url(words)
        runs(words, "play_commands", verb)


def _operators(plays: "Commands[Parser]") -> None:
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
