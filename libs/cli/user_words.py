"""The words of `headrace user`."""

from libs.cli.words import Commands, Parser, command, family, remote, with_limit, with_yes

# Those of libs.common.messages.access, spelled here so that `--help` imports nothing.
ROLES = ("admin", "editor", "operator", "viewer")


def add(commands: "Commands[Parser]") -> None:
    """Add the commands about users."""
    users = family(
        commands,
        "user",
        "decide who may log in, as what",
        "The users of your company, for its admins. USER is a user's email or id.",
        """
  headrace user create ann@example.com --role editor
  headrace user role ann@example.com operator
  headrace user disable ann@example.com
""",
    )
    words = command(
        users,
        "list",
        "list users",
        "List the users of your company.",
        "  headrace user list\n  headrace user list --role admin --disabled false -o yaml",
    )
    words.add_argument("--role", choices=ROLES, help="only those of this role")
    words.add_argument("--disabled", choices=("true", "false"), help="only those that are, or are not")
    with_limit(words)
    remote(words, "user_commands", "list_")
    words = command(
        users,
        "create",
        "make a user",
        "Make a user. The password is made up and printed this once, unless --password-file holds one.",
        """
  headrace user create ann@example.com --name Ann --role editor
  pass show ann | headrace user create ann@example.com --password-file -
""",
    )
    words.add_argument("email", metavar="EMAIL", help="with which they log in")
    words.add_argument("--name", default="", metavar="TEXT", help="their name")
    words.add_argument("--role", choices=ROLES, default="viewer", help="what they may do (viewer)")
    _with_password(words)
    remote(words, "user_commands", "create")
    _changes(users)


def _changes(users: "Commands[Parser]") -> None:
    words = _of_one(
        users,
        "role",
        "give a user a role",
        "Give a user another role, at once.",
        "role ann@example.com editor",
    )
    words.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    remote(words, "user_commands", "role")
    words = _of_one(
        users,
        "disable",
        "let a user log in no more",
        "Let a user log in no more. Their sessions and API keys hold no longer, at once. Asks first.",
        "disable ann@example.com --yes",
    )
    with_yes(words)
    remote(words, "user_commands", "disable")
    words = _of_one(
        users,
        "enable",
        "let a user log in again",
        "Let a disabled user log in again.",
        "enable ann@example.com",
    )
    remote(words, "user_commands", "enable")
    words = _of_one(
        users,
        "reset-password",
        "give a user another password",
        """
Give a user another password and end their sessions. It is made up and printed this once, unless --password-file holds
one.
""",
        "reset-password ann@example.com",
    )
    _with_password(words)
    remote(words, "user_commands", "reset_password")


def _of_one(users: "Commands[Parser]", verb: str, help_: str, text: str, example: str) -> Parser:
    words = command(users, verb, help_, text, f"  headrace user {example}")
    words.add_argument("user", metavar="USER", help="email or id")
    return words


def _with_password(words: Parser) -> None:
    words.add_argument(
        "--password-file",
        metavar="FILE",
        help="the password is the first line of this file; - is standard input",
    )
