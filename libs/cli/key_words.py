"""The words of `headrace key`."""

from libs.cli.words import Commands, Parser, command, family, remote, runs, with_url, with_yes

# Those of libs.common.messages.key, spelled here so that `--help` imports nothing.
SCOPES = ("standard", "mcp")


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about API keys."""
    keys = family(
        commands,
        "key",
        "make and revoke API keys",
        "API keys, which act for whoever made them; admins see and revoke all of the company. KEY is a name or id.",
        "  headrace key create ci\n  headrace key create agent --scope mcp\n  headrace key revoke ci",
    )
    words = command(
        keys,
        "list",
        "list keys",
        "List API keys, without those that were revoked.",
        "  headrace key list\n  headrace key list --all",
    )
    words.add_argument("--all", action="store_true", help="those that were revoked too")
    remote(words, "key_commands", "list_")
    words = command(
        keys,
        "create",
        "make a key",
        """
Make an API key. Its token is printed this once and stored nowhere. The scope `standard` calls the API, `mcp` calls the
MCP server and nothing else.
""",
        """
  headrace key create ci
  headrace key create agent --scope mcp -o json | jq -r .token
""",
    )
    words.add_argument("name", metavar="NAME", help="what it is for")
    words.add_argument(
        "--scope", choices=SCOPES, action="append", help="standard (default) or mcp; may stand twice"
    )
    remote(words, "key_commands", "create")
    words = command(
        keys,
        "revoke",
        "let a key hold no longer",
        "Let an API key hold no longer, at every gateway at once. Asks first.",
        "  headrace key revoke ci\n  headrace key revoke 6920e3f3aa9f2c1d04e9b7c1 --yes",
    )
    words.add_argument("key", metavar="KEY", help="name or id")
    with_yes(words)
    with_url(words)
    runs(words, "key_commands", "revoke")
