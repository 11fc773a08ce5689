"""The commands for people who use a system: their parsers, with help that teaches."""

import argparse
from collections.abc import Callable

from libs.cli import completion, group_words, key_words, kv_words, play_words, schedule_words, user_words
from libs.cli.words import (
    Commands,
    Parser,
    command,
    count,
    family,
    pair,
    remote,
    runs,
    with_output,
    with_url,
    with_yes,
)

# Those of libs.common.messages.play, spelled here so that `--help` imports nothing.
STATES = ("NEW", "RUN", "WAIT", "DEFERRED", "ON_HOLD", "DONE", "FAIL", "SKIP", "FILTERED")
PLAYS_SHOWN = 25
WAIT_S_MAX = 60.0


def _auth(commands: "Commands[Parser]") -> None:
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


def _flow(commands: "Commands[Parser]") -> None:
    flows = family(
        commands,
        "flow",
        "define and run flows",
        "What people define. FLOW is a flow's permanentId (invoice-check) or its id.",
        """
  headrace flow list
  headrace flow export invoice-check > invoice-check.json
  headrace flow apply -f invoice-check.json
  headrace flow run invoice-check -a net=100 --watch
""",
    )
    _flow_readers(flows)
    _flow_writers(flows)
    _flow_run(flows)


def _flow_readers(flows: "Commands[Parser]") -> None:
    words = command(
        flows,
        "list",
        "list flows",
        "List the flows of your company, oldest first.",
        "  headrace flow list\n  headrace flow list --category finance --enabled true -o json",
    )
    words.add_argument("--category", metavar="TEXT", help="only those of this category")
    words.add_argument("--enabled", choices=("true", "false"), help="only those that are, or are not")
    words.add_argument("-n", "--limit", type=count, metavar="N", help="at most so many (all)")
    remote(words, "flow_commands", "list_")
    words = command(
        flows,
        "show",
        "show a flow and its steps",
        "Show one flow and its steps.",
        "  headrace flow show invoice-check\n  headrace flow show invoice-check -o json",
    )
    words.add_argument("flow", metavar="FLOW", help="permanentId or id")
    remote(words, "flow_commands", "show")
    words = command(
        flows,
        "export",
        "write a flow as a file",
        """
Write a flow as the file that `apply` takes, JSON or, where its name ends so, YAML. Fields that have their default are
left out.
""",
        """
  headrace flow export invoice-check
  headrace flow export invoice-check -o yaml
  headrace flow export invoice-check -f flows/invoice-check.yaml
""",
    )
    words.add_argument("flow", metavar="FLOW", help="permanentId or id")
    words.add_argument("-f", "--file", default="-", metavar="FILE", help="where to (standard output)")
    words.add_argument(
        "-o", "--output", choices=("json", "yaml"), help="the form (as the file's name tells, or json)"
    )
    with_url(words)
    runs(words, "flow_commands", "export")


def _flow_writers(flows: "Commands[Parser]") -> None:
    words = command(
        flows,
        "apply",
        "make a flow what its file states",
        """
Create the flow of a file, or change it until it is what the file states; a flow that is so already is left alone and
keeps its version. The flow is found by the file's permanentId, or else by its name; steps by their ref. What the file
leaves out has its default. Each change is a call and a version of its own, so a play that starts meanwhile may see
some of them.
""",
        """
  headrace flow apply -f invoice-check.yaml
  headrace flow apply -f invoice-check.json --dry-run       what would change
  jq '.enabled = false' invoice-check.json | headrace flow apply -f -

a file, which may as well be JSON:
  name: Hello
  layers:
    - ref: greeting
      appId: template
      args: {template: "Hello {{ .who }}", data: {who: you}}
""",
    )
    words.add_argument("-f", "--file", required=True, metavar="FILE", help="the file; - is standard input")
    words.add_argument("--dry-run", action="store_true", help="tell what would change, and change nothing")
    with_url(words)
    runs(words, "flow_commands", "apply")
    words = command(
        flows,
        "delete",
        "delete a flow",
        "Delete a flow: it is gone from lists and runs no more, its plays stay readable. Asks first.",
        "  headrace flow delete invoice-check\n  headrace flow delete invoice-check --yes       in a script",
    )
    words.add_argument("flow", metavar="FLOW", help="permanentId or id")
    with_yes(words)
    with_url(words)
    runs(words, "flow_commands", "delete")


def _flow_run(flows: "Commands[Parser]") -> None:
    words = command(
        flows,
        "run",
        "start a play",
        """
Start a play and print its id. With --wait the answer comes when the play has ended, or is parked, or the time is over;
with --watch its events are printed until it ends. The exit code is 1 when the play has failed.
""",
        """
  headrace flow run invoice-check -a net=100 -a note=urgent
  headrace flow run invoice-check --args '{"net": 100}' --wait 10
  headrace flow run invoice-check --args @args.json --watch
  headrace flow run invoice-check --key invoice-4711         a repeat starts nothing

-a takes JSON where it is JSON (100, true, [1, 2], "100") and text where it is not.
""",
    )
    words.add_argument("flow", metavar="FLOW", help="permanentId or id")
    words.add_argument(
        "--args", default="{}", metavar="JSON", help="what it starts with: an object, or @FILE"
    )
    words.add_argument(
        "-a", "--arg", type=pair, action="append", default=[], metavar="KEY=VALUE", help="one field of it"
    )
    ways = words.add_mutually_exclusive_group()
    ways.add_argument(
        "-w", "--wait", type=_wait_s, metavar="S", help="wait so many seconds for the end (60 at most)"
    )
    ways.add_argument("--watch", action="store_true", help="print events until the end")
    words.add_argument("--key", metavar="TEXT", help="idempotency key: equal keys are one play")
    words.add_argument("--force", action="store_true", help="run it though it is disabled")
    remote(words, "flow_commands", "run")


def _play(commands: "Commands[Parser]") -> None:
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
    _play_readers(plays)
    _play_deciders(plays)
    play_words.add(plays)


def _play_readers(plays: "Commands[Parser]") -> None:
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
    words.add_argument(
        "-n", "--limit", type=count, default=PLAYS_SHOWN, metavar="N", help=f"at most ({PLAYS_SHOWN})"
    )
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


def _play_deciders(plays: "Commands[Parser]") -> None:
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


def _tap(commands: "Commands[Parser]") -> None:
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


def _wait_s(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= WAIT_S_MAX:
        raise argparse.ArgumentTypeError(f"between 0 and {WAIT_S_MAX:g} seconds")
    return seconds


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) > 0):
        raise argparse.ArgumentTypeError("expected the sequence of an event, from 1")
    return int(text)


COMMANDS: list[Callable[["Commands[Parser]"], None]] = [
    _auth,
    _flow,
    _play,
    kv_words.add,
    schedule_words.add,
    group_words.add,
    user_words.add,
    key_words.add,
    _tap,
    completion.add,
]
