"""Where two versions of a flow differ, place by place (spec flow8 section 5.1)."""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.messages.flow import Flow
from libs.common.messages.version import FlowChange

CHANGES_MAX = 1_000
# Differ between any two versions, and say nothing.
_ALWAYS = frozenset({"version", "updatedAt", "deleted"})
_MISSING = object()


def differences(before: Flow, after: Flow) -> list[FlowChange]:
    """Return the places that differ, layers by their `ref`, at most CHANGES_MAX of them.

    A layer that was renamed to another `ref` is one that went and one that came.
    """
    changes = []
    for change in _between(_plain(before), _plain(after), ""):
        changes.append(change)
        if len(changes) == CHANGES_MAX:
            break
    return changes


def _plain(flow: Flow) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(flow)
    layers = {layer["ref"]: layer for layer in plain.pop("layers")}
    return {name: value for name, value in plain.items() if name not in _ALWAYS} | {"layers": layers}


def _between(before: Any, after: Any, path: str) -> Iterator[FlowChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{path}.{name}" if path else name
            yield from _between(before.get(name, _MISSING), after.get(name, _MISSING), inner)
    elif type(before) is not type(after) or before != after:
        yield FlowChange(path=path, before=_shown(before), after=_shown(after))


def _shown(value: Any) -> Any:
    return None if value is _MISSING else value
