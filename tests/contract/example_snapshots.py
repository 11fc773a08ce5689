"""A snapshot of a play that uses what plays have: steps that ended, one that waits, a loop, an open approval.

`python -m tests.contract.example_snapshots` records the version that has no file. A file that is there is never written
again: some log out there holds such a snapshot.
"""

from pathlib import Path
from typing import Any

import msgspec

from libs.common.messages import play as m
from services.executor.play import Play
from services.executor.play_snapshot import SNAPSHOT_VERSION, snapshot_of
from tests.builders import AT, a_layer, a_plan
from tests.contract.examples import GOLDEN
from tests.spec import Scene

SNAPSHOTS = GOLDEN.parent / "snapshots"


def a_snapshot() -> m.PlaySnapshot:
    """Return the snapshot of a play that is parked in its loop's second round, at an approval."""
    plan = a_plan(
        a_layer("first"),
        a_layer("loop", app_id="iterator", index=1, args={"items": [1, 2]}),
        a_layer("gate", index=2, needs_approval=True),
    )
    scene = Scene(plan).started(by="ada", args={"customer": "c-7"}).running("first").ended("first")
    looping = m.LayerIterating(
        at=AT, ref="loop", layer_id="id-loop", order=1, items=[1, 2], collects=("gate",)
    )
    scene.commit((looping,))
    scene.waiting("gate", "approval", at=(0,)).parked("w1")
    return snapshot_of(scene.play, AT)


def shape() -> dict[str, dict[str, str]]:
    """Return the fields of everything that a play's state is made of, with their types, by struct."""
    found: dict[str, dict[str, str]] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(Play)]
    while waiting:
        info = waiting.pop()
        if not isinstance(info, msgspec.inspect.StructType):
            waiting += _parts(info)
        elif info.cls.__name__ not in found:
            found[info.cls.__name__] = {field.name: _named(field.type) for field in info.fields}
            waiting += [field.type for field in info.fields]
    return dict(sorted(found.items()))


def _parts(info: Any) -> list[Any]:
    names = ("types", "item_types", "item_type", "key_type", "value_type")
    parts = [getattr(info, name) for name in names if hasattr(info, name)]
    return [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]


def _named(info: Any) -> str:
    if isinstance(info, msgspec.inspect.StructType):
        return info.cls.__name__
    if isinstance(info, msgspec.inspect.LiteralType):
        return " ".join(map(str, info.values))
    name, parts = type(info).__name__.removesuffix("Type").lower(), _parts(info)
    return f"{name}({', '.join(map(_named, parts))})" if parts else name


def path_of(version: int) -> Path:
    """Return where the snapshot of a version is recorded."""
    return SNAPSHOTS / f"v{version}.json"


def main() -> None:
    """Record the current version, unless it is recorded."""
    path = path_of(SNAPSHOT_VERSION)
    if not path.exists():
        content = msgspec.json.encode({"shape": shape(), "snapshot": a_snapshot()})
        path.write_bytes(msgspec.json.format(content, indent=2) + b"\n")


if __name__ == "__main__":
    main()
