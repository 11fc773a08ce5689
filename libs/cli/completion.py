"""`headrace completion`: scripts for shells, generated from the parsers as they are."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from libs.cli.errors import OK
from libs.cli.words import Commands, Parser, command

SHELLS = ("bash", "zsh", "fish")
TEXT = """
Print a script that completes commands and options in your shell.
"""
EXAMPLES = """
  source <(headrace completion bash)                        in ~/.bashrc
  source <(headrace completion zsh)                         in ~/.zshrc, after compinit
  headrace completion fish > ~/.config/fish/completions/headrace.fish
"""
BASH = """\
# bash completion for headrace
_headrace() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" path="" word words
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
{paths}
        esac
    done
    case "$path $previous" in
{values}
    esac
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _headrace headrace
"""
ZSH = """\
#compdef headrace
_headrace() {{
    local current="${{words[CURRENT]}}" previous="${{words[CURRENT-1]}}" path_="" word
    local -a found
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$path_ $word" in
{paths}
        esac
    done
    case "$path_ $previous" in
{values}
    esac
    case "$path_" in
{words}
    esac
    _describe headrace found || _files
}}
compdef _headrace headrace
"""


class Word(NamedTuple):
    """A word that may come next, and what it means."""

    text: str
    help: str


class Place(NamedTuple):
    """A command: the words that lead to it, what may follow, and the values of its options."""

    path: tuple[str, ...]
    words: tuple[Word, ...]
    values: Mapping[str, tuple[str, ...]]


def add(commands: "Commands[Parser]") -> None:
    """Add the command; it looks at its siblings when it runs, so it completes those added after it too."""
    words = command(commands, "completion", "print a script that completes commands", TEXT, EXAMPLES)
    words.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")

    def show(arguments: argparse.Namespace) -> int:
        print(script(arguments.shell, commands), end="")
        return OK

    words.set_defaults(run=show)


def script(shell: str, commands: "Commands[Parser]") -> str:
    """Return the script that completes these commands in a shell of SHELLS."""
    top = Place((), tuple(_commands(commands)), {})
    places = [top, *(place for name, words in commands.choices.items() for place in _places((name,), words))]
    match shell:
        case "bash":
            return _cases(BASH, places, "words", lambda word: word.text)
        case "zsh":
            return _cases(ZSH, places, "found", lambda word: _quoted(f"{word.text}:{word.help}"))
        case _:
            return _fish(places)


def _places(path: tuple[str, ...], words: Parser) -> Iterator[Place]:
    found: list[Word] = []
    values: dict[str, tuple[str, ...]] = {}
    for action in words._actions:  # noqa: SLF001  # argparse tells its own options nowhere else
        choices = tuple(map(str, action.choices or ()))
        if isinstance(action, Commands):
            found += _commands(action)
            for name, below in action.choices.items():
                yield from _places((*path, name), below)
        elif action.option_strings:
            found += [Word(option, action.help or "") for option in action.option_strings]
            values |= dict.fromkeys(action.option_strings, choices) if choices else {}
        else:
            found += [Word(choice, "") for choice in choices]
    yield Place(path, tuple(found), values)


def _commands(action: "Commands[Parser]") -> list[Word]:
    return [Word(str(shown.dest), shown.help or "") for shown in action._choices_actions]  # noqa: SLF001


def _cases(template: str, places: list[Place], name: str, spelled: Callable[[Word], str]) -> str:
    indent = " " * 8
    paths, values, words = [], [], []
    path_name = "path" if template is BASH else "path_"
    for place in places:
        path = "".join(f" {word}" for word in place.path)
        if place.path:
            paths.append(f'{indent}    "{path}") {path_name}="{path}" ;;')
        for option, choices in place.values.items():
            known = " ".join(choices)
            reply = (
                f'COMPREPLY=($(compgen -W "{known}" -- "$current")); return'
                if template is BASH
                else (f"found=({known}); _describe value found; return")
            )
            values.append(f'{indent}"{path} {option}") {reply} ;;')
        listed = " ".join(map(spelled, place.words))
        found = f'"{listed}"' if template is BASH else f"({listed})"
        words.append(f'{indent}"{path}") {name}={found} ;;')
    return template.format(paths="\n".join(paths), values="\n".join(values), words="\n".join(words))


def _fish(places: list[Place]) -> str:
    lines = ["# fish completion for headrace", "complete -c headrace -f"]
    for place in places:
        below = {word.text for word in place.words if not word.text.startswith("-")}
        seen = [f"__fish_seen_subcommand_from {word}" for word in place.path]
        if below:
            seen.append(f"not __fish_seen_subcommand_from {' '.join(sorted(below))}")
        condition = _quoted("; and ".join(seen)) if seen else "__fish_use_subcommand"
        for word in place.words:
            values = " ".join(place.values.get(word.text, ()))
            given = f" -x -a {_quoted(values)}" if values else ""
            lines.append(
                f"complete -c headrace -n {condition} {_fish_word(word)}{given} -d {_quoted(word.help)}"
            )
    return "\n".join(lines) + "\n"


def _fish_word(word: Word) -> str:
    if word.text.startswith("--"):
        return f"-l {word.text[2:]}"
    return f"-s {word.text[1:]}" if word.text.startswith("-") else f"-a {word.text}"


def _quoted(text: str) -> str:
    # Shells know no escape inside single quotes; what a quote says, a grave accent says too.
    return "'" + text.replace("'", "`") + "'"
