"""The words of `headrace schedule`."""

import argparse

from libs.cli.words import (
    PLAYS_SHOWN,
    Commands,
    Parser,
    command,
    count,
    family,
    pair,
    remote,
    runs,
    with_limit,
    with_url,
    with_yes,
)

# Those of libs.common.messages.schedule, spelled here so that `--help` imports nothing.
MISFIRE_POLICIES = ("skip", "last", "all")
OVERLAP_POLICIES = ("allow", "skip", "queue", "cancelRunning")
PREVIEW_DEFAULT = 5


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about schedules."""
    schedules = family(
        commands,
        "schedule",
        "let the clock start plays",
        "What starts plays at their time. SCHEDULE is a schedule's name or id.",
        """
  headrace schedule create nightly --flow invoice-check --cron "0 3 * * *" --timezone Europe/Berlin
  headrace schedule preview nightly
  headrace schedule pause nightly --note "month's end"
""",
    )
    _readers(schedules)
    _definers(schedules)
    _starters(schedules)
    _pausers(schedules)


def _readers(schedules: "Commands[Parser]") -> None:
    words = command(
        schedules,
        "list",
        "list schedules",
        "List the schedules of your company, oldest first.",
        "  headrace schedule list\n  headrace schedule list --flow invoice-check --enabled true -o yaml",
    )
    words.add_argument("--flow", metavar="FLOW", help="only those of this flow")
    words.add_argument("--enabled", choices=("true", "false"), help="only those that are, or are not")
    with_limit(words)
    remote(words, "schedule_commands", "list_")
    words = _of_one(schedules, "show", "show a schedule", "Show one schedule: its times, and how far it is.")
    remote(words, "schedule_commands", "show")
    words = _of_one(
        schedules, "plays", "list its plays", "List the plays that a schedule started, newest first."
    )
    with_limit(words, PLAYS_SHOWN)
    remote(words, "schedule_commands", "plays")
    words = _of_one(
        schedules,
        "preview",
        "tell its next times",
        "Tell when a schedule occurs next, and when each play will be started: jitter lies between them.",
    )
    words.add_argument(
        "-n",
        "--count",
        type=count,
        default=PREVIEW_DEFAULT,
        metavar="N",
        help=f"how many ({PREVIEW_DEFAULT})",
    )
    remote(words, "schedule_commands", "preview")


def _definers(schedules: "Commands[Parser]") -> None:
    words = command(
        schedules,
        "create",
        "make a schedule",
        "Make a schedule: a cron expression, or an interval such as 90s, 15m, 6h, 1d.",
        """
  headrace schedule create nightly --flow invoice-check --cron "0 3 * * *" --timezone Europe/Berlin
  headrace schedule create often --flow poll --every 90s --overlap skip -a source=mail
""",
    )
    words.add_argument("name", metavar="NAME", help="its name")
    words.add_argument("--flow", metavar="FLOW", required=True, help="whose plays it starts")
    _with_fields(words)
    words.add_argument(
        "--disabled", dest="enabled", action="store_const", const=False, help="it starts nothing yet"
    )
    remote(words, "schedule_commands", "create")
    words = command(
        schedules,
        "update",
        "change a schedule",
        "Change a schedule; what is not named stays as it is.",
        '  headrace schedule update nightly --cron "30 2 * * *"\n  headrace schedule update nightly --disable',
    )
    words.add_argument("schedule", metavar="SCHEDULE", help="name or id")
    words.add_argument("--name", metavar="NAME", help="its new name")
    words.add_argument("--flow", metavar="FLOW", help="whose plays it starts")
    _with_fields(words)
    switch = words.add_mutually_exclusive_group()
    switch.add_argument(
        "--enable", dest="enabled", action="store_const", const=True, help="let it start plays"
    )
    switch.add_argument(
        "--disable", dest="enabled", action="store_const", const=False, help="let it start none"
    )
    remote(words, "schedule_commands", "update")
    words = _of_one(
        schedules, "delete", "delete a schedule", "Delete a schedule; its plays stay. Asks first."
    )
    with_yes(words)
    with_url(words)
    runs(words, "schedule_commands", "delete")


def _with_fields(words: Parser) -> None:
    times = words.add_mutually_exclusive_group()
    times.add_argument("--cron", metavar="EXPRESSION", help='five fields, or six with seconds: "0 3 * * *"')
    times.add_argument("--every", metavar="INTERVAL", help="an interval: 90s, 15m, 6h, 1d")
    words.add_argument("--timezone", metavar="ZONE", help="the zone of its times (UTC)")
    words.add_argument(
        "-a", "--arg", type=pair, action="append", metavar="KEY=VALUE", help="one field of the args"
    )
    words.add_argument("--args", metavar="JSON", help="what its plays start with: an object, or @FILE")
    words.add_argument(
        "--misfire", choices=MISFIRE_POLICIES, help="which times that were missed are made up for (skip)"
    )
    words.add_argument(
        "--overlap", choices=OVERLAP_POLICIES, help="what to do while the last play still runs (allow)"
    )
    words.add_argument("--jitter", type=_seconds, metavar="S", help="start up to so many seconds later (0)")
    words.add_argument("--start-at", metavar="TIME", help="no time before this (2026-01-31T00:00:00Z)")
    words.add_argument("--end-at", metavar="TIME", help="no time from this on")
    words.add_argument(
        "--exclude",
        action="append",
        metavar="DAY",
        help="leave out a day (2026-12-25), or what a cron expression matches",
    )


def _starters(schedules: "Commands[Parser]") -> None:
    words = _of_one(schedules, "run", "start a play now", "Start a play of a schedule now, beside its times.")
    remote(words, "schedule_commands", "run")
    words = command(
        schedules,
        "backfill",
        "start the plays of the past",
        """
Start the plays of the times in a span of the past, as if they had come now. The end is not part of it. Follow it with
`headrace schedule show`.
""",
        """
  headrace schedule backfill nightly --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z
  headrace schedule backfill nightly --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --in-order
""",
    )
    words.add_argument("schedule", metavar="SCHEDULE", help="name or id")
    words.add_argument("--from", dest="from_", required=True, metavar="TIME", help="its beginning")
    words.add_argument("--to", required=True, metavar="TIME", help="its end")
    words.add_argument(
        "--in-order", action="store_true", help="each play waits for the end of the one before"
    )
    remote(words, "schedule_commands", "backfill")


def _pausers(schedules: "Commands[Parser]") -> None:
    for verb, what in (("pause", "let a schedule start nothing"), ("resume", "let a paused schedule go on")):
        words = _of_one(schedules, verb, what, f"{what.capitalize()}.")
        words.add_argument("--note", default="", metavar="TEXT", help="why; shown with the schedule")
        remote(words, "schedule_commands", verb)


def _of_one(schedules: "Commands[Parser]", verb: str, help_: str, text: str) -> Parser:
    words = command(schedules, verb, help_, text, f"  headrace schedule {verb} nightly")
    words.add_argument("schedule", metavar="SCHEDULE", help="name or id")
    return words


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError("expected a whole number of seconds")
    return int(text)
