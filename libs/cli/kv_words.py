"""The words of `headrace kv`."""

import argparse

from libs.cli.words import (
    Commands,
    Parser,
    command,
    family,
    remote,
    runs,
    with_limit,
    with_url,
    with_yes,
)


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about KV entries."""
    entries = family(
        commands,
        "kv",
        "what flows remember between plays",
        """
KV entries of your company. Without --flow or --group those that every flow sees; a flow sees its own first, then those
of its group, then those.
""",
        """
  headrace kv list
  headrace kv set rates '{"EUR": 1.0}'
  headrace kv get rates --flow invoice-check
""",
    )
    _readers(entries)
    _writers(entries)


def _readers(entries: "Commands[Parser]") -> None:
    words = command(
        entries,
        "list",
        "list entries",
        "List KV entries of all scopes, or of one. The value of a secret entry is not shown.",
        "  headrace kv list\n  headrace kv list --flow invoice-check --prefix rates. -o yaml",
    )
    _with_scope(words)
    words.add_argument(
        "--global", dest="everybody", action="store_true", help="only those that every flow sees"
    )
    words.add_argument("--prefix", metavar="TEXT", help="only those whose key begins so")
    with_limit(words)
    remote(words, "kv_commands", "list_")
    words = command(
        entries,
        "get",
        "print a value",
        "Print the value of an entry: a text as it is, anything else as JSON; with -o json or yaml the whole entry.",
        "  headrace kv get rates\n  headrace kv get last-run --flow invoice-check -o json",
    )
    words.add_argument("key", metavar="KEY", help="its key")
    _with_scope(words)
    remote(words, "kv_commands", "get")


def _writers(entries: "Commands[Parser]") -> None:
    words = command(
        entries,
        "set",
        "set an entry",
        """
Set an entry, whatever it was before. A secret entry can be read by flows and by nobody else; it stays secret until it
is deleted, or set with --no-secret. Give secrets through --file: arguments can be seen by others on the machine.
""",
        """
  headrace kv set rates '{"EUR": 1.0, "CHF": 0.97}'
  headrace kv set greeting "Hello" --flow invoice-check
  pass show mail | headrace kv set mail-password --file - --secret

The value is JSON where it is JSON (100, true, [1, 2], "100") and text where it is not; --text takes it as it is.
""",
    )
    words.add_argument("key", metavar="KEY", help="its key")
    given = words.add_mutually_exclusive_group(required=True)
    given.add_argument("value", metavar="VALUE", nargs="?", help="its value")
    given.add_argument("-f", "--file", metavar="FILE", help="take it from a file; - is standard input")
    words.add_argument("--text", action="store_true", help="the value is text, even where it is JSON")
    words.add_argument(
        "--secret", action=argparse.BooleanOptionalAction, help="whether it is secret (as it was; no)"
    )
    _with_scope(words)
    remote(words, "kv_commands", "set_")
    words = command(
        entries,
        "delete",
        "delete an entry",
        "Delete an entry. Asks first.",
        "  headrace kv delete rates\n  headrace kv delete last-run --flow invoice-check --yes",
    )
    words.add_argument("key", metavar="KEY", help="its key")
    with_yes(words)
    _with_scope(words)
    with_url(words)
    runs(words, "kv_commands", "delete")


def _with_scope(words: Parser) -> None:
    scopes = words.add_mutually_exclusive_group()
    scopes.add_argument("--flow", metavar="FLOW", help="of this flow")
    scopes.add_argument("--group", metavar="GROUP", help="of this group, by name or id")
