"""How deep a value from outside may nest: whoever writes it into an event recurses once a level."""

from typing import Any

NESTING_MAX = 128


def nests_too_deep(value: Any, levels_max: int = NESTING_MAX) -> bool:
    """Tell whether lists and objects lie more than `levels_max` deep in each other."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(levels_max):
        if not level:
            return False
        level = [
            part
            for whole in level
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, list | dict)
        ]
    return bool(level)
