"""The args of a play as people give them: an object, a file that holds one, single fields."""

import json
from collections.abc import Iterable
from typing import Any

from libs.cli import files
from libs.cli.errors import USAGE, CommandFailed


def args(given: str, pairs: Iterable[tuple[str, object]]) -> dict[str, Any]:
    """Return the object that `--args` states, with each `-a` in it. Raises CommandFailed when it states none."""
    if given.startswith("@"):
        given = files.text(files.read(given[1:]), given[1:])
    try:
        found = json.loads(given)
    except ValueError as error:
        raise CommandFailed(f"--args is no JSON: {error}", USAGE) from error
    if not isinstance(found, dict):
        raise CommandFailed("--args must be a JSON object", USAGE)
    return {**found, **dict(pairs)}
