"""The commands for people who use a system: their parsers, with help that teaches."""

from collections.abc import Callable

from libs.cli import (
    auth_words,
    completion,
    flow_words,
    group_words,
    key_words,
    kv_words,
    play_words,
    schedule_words,
    tap_words,
    user_words,
)
from libs.cli.words import Commands, Parser

COMMANDS: tuple[Callable[["Commands[Parser]"], None], ...] = (
    auth_words.add,
    flow_words.add,
    play_words.add,
    kv_words.add,
    schedule_words.add,
    group_words.add,
    user_words.add,
    key_words.add,
    tap_words.add,
    completion.add,
)
