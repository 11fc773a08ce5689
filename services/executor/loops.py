"""Which steps an iterator repeats, and what its aggregator asks of them, pure (spec flow8 section 17.1).

The body of an iterator is every group after its own, up to the first group with an aggregator that collects from that
body; without one, to the end of the flow. Bodies lie inside each other, never across: who closes a loop closes those
inside it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from libs.common.messages.flow import Layer

ITERATOR = "iterator"
AGGREGATOR = "aggregator"
LOOPS_NESTED_MAX = 8
SOURCES_MAX = 100


class Place(msgspec.Struct, frozen=True):
    """Where a layer stands among the loops of its flow.

    `loops` are the iterators around it, the outermost first, `within` the innermost one, "" outside of all loops. An
    iterator has a body, the groups from the one after its own up to `body_end`, and `collects`; an aggregator has
    `sources`. Both are `<ref>` or `<ref>.<field>`.
    """

    loops: tuple[str, ...] = ()
    body_end: int = 0
    collects: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    broken: str | None = None
    within: str = ""


class _Draft(msgspec.Struct):
    """A Place in the making."""

    loops: tuple[str, ...] = ()
    body_end: int = 0
    collects: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    broken: str | None = None


def places(groups: Sequence[Sequence[Layer]]) -> dict[str, Place]:
    """Return the place of every layer by its ref, of layers in groups by their order; never fails."""
    if not any(layer.app_id in (ITERATOR, AGGREGATOR) for group in groups for layer in group):
        return {layer.ref: Place() for group in groups for layer in group}
    found = {layer.ref: _Draft() for group in groups for layer in group}
    open_loops: list[str] = []
    for number, group in enumerate(groups):
        for layer in group:
            if layer.app_id == AGGREGATOR:
                _name_sources(layer, found)
        del open_loops[_depth_after(group, found, open_loops) :]
        for layer in group:
            found[layer.ref].loops = tuple(open_loops)
            for ref in open_loops:
                found[ref].body_end = number + 1
        _open(group, number, found, open_loops)
    _collect(groups, found)
    return {ref: _place(draft) for ref, draft in found.items()}


def _place(draft: _Draft) -> Place:
    return Place(**msgspec.structs.asdict(draft), within=draft.loops[-1] if draft.loops else "")


def _name_sources(layer: Layer, found: dict[str, _Draft]) -> None:
    place = found[layer.ref]
    try:
        refs, field = _args(layer.args)
    except ValueError as error:
        place.broken = f"aggregator: {error}"
        return
    unknown = [ref for ref in refs if ref not in found]
    if unknown:
        place.broken = f"aggregator: arg sourceRef: there is no step {unknown[0][:80]!r}"
        return
    place.sources = tuple(f"{ref}.{field}" if field else ref for ref in refs)


def _args(args: dict[str, Any]) -> tuple[list[str], str]:
    given, field = args.get("sourceRef"), args.get("field") or ""
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError as error:
            raise ValueError("arg sourceRef: this is no list") from error
    refs = [given] if isinstance(given, str) else given
    if not isinstance(refs, list) or not refs or not all(isinstance(ref, str) and ref for ref in refs):
        raise ValueError("arg sourceRef: expected a ref, or a list of refs")
    if len(refs) > SOURCES_MAX:
        raise ValueError(f"arg sourceRef: at most {SOURCES_MAX} refs")
    # The loops of a flow are known before it runs, so none of this may depend on a play.
    if any("{{" in ref for ref in refs):
        raise ValueError("arg sourceRef: names steps as they are, not by an expression")
    if not isinstance(field, str) or "{{" in field:
        raise ValueError("arg field: expected the path of a field, not an expression")
    return refs, field


def _depth_after(group: Sequence[Layer], found: dict[str, _Draft], open_loops: list[str]) -> int:
    """Return how many loops stay open when this group begins."""
    depth = len(open_loops)
    for layer in group:
        for source in found[layer.ref].sources:
            ref = source.partition(".")[0]
            if ref in open_loops:
                depth = min(depth, open_loops.index(ref))
                continue
            around = found[ref].loops
            if around and around == tuple(open_loops[: len(around)]):
                depth = min(depth, len(around) - 1)
    return depth


def _open(group: Sequence[Layer], number: int, found: dict[str, _Draft], open_loops: list[str]) -> None:
    iterators = [layer for layer in group if layer.app_id == ITERATOR]
    for layer in iterators[1:]:
        text = f"{iterators[0].ref!r} iterates at this index already; give one of them a higher one"
        found[layer.ref].broken = f"iterator: {text}"
    if not iterators:
        return
    place = found[iterators[0].ref]
    place.body_end = number + 1
    if len(open_loops) >= LOOPS_NESTED_MAX:
        place.broken = f"iterator: loops lie at most {LOOPS_NESTED_MAX} deep in each other"
        return
    open_loops.append(iterators[0].ref)


def _collect(groups: Sequence[Sequence[Layer]], found: dict[str, _Draft]) -> None:
    """Tell every iterator between a source and its aggregator what it has to keep."""
    for group in groups:
        for layer in group:
            place = found[layer.ref]
            for source in place.sources:
                ref = source.partition(".")[0]
                around = (*found[ref].loops, *((ref,) if found[ref].body_end else ()))
                common = 0
                while common < min(len(around), len(place.loops)) and around[common] == place.loops[common]:
                    common += 1
                for iterator in around[common:]:
                    keeper = found[iterator]
                    if source not in keeper.collects:
                        keeper.collects = (*keeper.collects, source)
