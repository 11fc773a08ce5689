"""The words of `headrace flow`."""

import argparse

from libs.cli.words import (
    Commands,
    Parser,
    command,
    family,
    pair,
    remote,
    runs,
    with_limit,
    with_url,
    with_yes,
)

WAIT_S_MAX = 60.0


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about flows."""
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
    _readers(flows)
    _writers(flows)
    _starter(flows)


def _readers(flows: "Commands[Parser]") -> None:
    words = command(
        flows,
        "list",
        "list flows",
        "List the flows of your company, oldest first.",
        "  headrace flow list\n  headrace flow list --category finance --enabled true -o json",
    )
    words.add_argument("--category", metavar="TEXT", help="only those of this category")
    words.add_argument("--enabled", choices=("true", "false"), help="only those that are, or are not")
    with_limit(words)
    remote(words, "flow_commands", "list_")
    words = command(
        flows,
        "show",
        "show a flow and its steps",
        "Show one flow and its steps.",
        "  headrace flow show invoice-check\n  headrace flow show invoice-check -o json",
    )
    _with_flow(words)
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
    _with_flow(words)
    words.add_argument("-f", "--file", default="-", metavar="FILE", help="where to (standard output)")
    words.add_argument(
        "-o", "--output", choices=("json", "yaml"), help="the form (as the file's name tells, or json)"
    )
    with_url(words)
    runs(words, "flow_commands", "export")


def _writers(flows: "Commands[Parser]") -> None:
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
    _with_flow(words)
    with_yes(words)
    with_url(words)
    runs(words, "flow_commands", "delete")


def _starter(flows: "Commands[Parser]") -> None:
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
    _with_flow(words)
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


def _with_flow(words: Parser) -> None:
    words.add_argument("flow", metavar="FLOW", help="permanentId or id")


def _wait_s(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= WAIT_S_MAX:
        raise argparse.ArgumentTypeError(f"between 0 and {WAIT_S_MAX:g} seconds")
    return seconds
