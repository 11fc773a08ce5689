"""The words of `headrace group`."""

from libs.cli.words import Commands, Parser, command, family, remote, runs, with_url, with_yes


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about groups."""
    groups = family(
        commands,
        "group",
        "sort flows into groups",
        "Groups of flows, with KV entries of their own. GROUP is a group's name or id.",
        "  headrace group list\n  headrace group create finance",
    )
    words = command(
        groups,
        "list",
        "list groups",
        "List the groups of your company.",
        "  headrace group list\n  headrace group list -o yaml",
    )
    remote(words, "group_commands", "list_")
    words = command(
        groups, "create", "make a group", "Make a group.", "  headrace group create finance --index 2"
    )
    words.add_argument("name", metavar="NAME", help="its name")
    _with_index(words)
    remote(words, "group_commands", "create")
    words = command(
        groups,
        "update",
        "change a group",
        "Change a group; what is not named stays as it is.",
        "  headrace group update finance --name accounting",
    )
    words.add_argument("group", metavar="GROUP", help="name or id")
    words.add_argument("--name", metavar="NAME", help="its new name")
    _with_index(words)
    remote(words, "group_commands", "update")
    words = command(
        groups,
        "delete",
        "delete a group",
        "Delete a group: its flows stay, without a group, and its KV entries go. Asks first.",
        "  headrace group delete finance\n  headrace group delete finance --yes",
    )
    words.add_argument("group", metavar="GROUP", help="name or id")
    with_yes(words)
    with_url(words)
    runs(words, "group_commands", "delete")


def _with_index(words: Parser) -> None:
    words.add_argument("--index", type=int, metavar="N", help="its place where groups are shown")
