"""Reads the samples of a profiled run: per service, which functions the CPU time went to."""

import json
import re
from collections import Counter
from pathlib import Path

SHOWN = 30
IMPORTS = "<frozen importlib"
SITE = re.compile(r"^.*/(?:site-packages|python3\.\d+)/")


def environment(folder: Path) -> dict[str, str]:
    """Return what makes each service write its samples into `folder`."""
    return {
        "PYTHONPATH": str(Path(__file__).parent / "sampling"),
        "HEADRACE_BENCH_PROFILE": str(folder),
    }


def text(folder: Path, root: Path) -> str:
    """Return the tables of all services: share of samples inside a function itself, and below it."""
    return "\n\n".join(_table(path, root) for path in sorted(folder.glob("*.json")))


def _table(path: Path, root: Path) -> str:
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    total = 0
    for stack, count in json.loads(path.read_text()):
        names = [_short(name, root) for name in stack]
        if any(name.startswith(IMPORTS) for name in names):
            continue  # the start has a figure of its own
        total += count
        own[names[0]] += count
        for name in set(names):
            below[name] += count
    lines = [f"{path.stem}: {total} samples", f"  {'itself':>7} {'below':>7}"]
    for name, count in own.most_common(SHOWN):
        lines.append(f"  {count / total:7.1%} {below[name] / total:7.1%}  {name}")
    lines.append("  most below, of ours:")
    ours = [(name, count) for name, count in below.most_common() if name.startswith(("libs/", "services/"))]
    lines += [f"  {own[name] / total:7.1%} {count / total:7.1%}  {name}" for name, count in ours[:SHOWN]]
    return "\n".join(lines)


def _short(name: str, root: Path) -> str:
    return SITE.sub("", name).removeprefix(f"{root}/")
