"""Samples where a service spends its CPU time; Python runs it first when `python -m tests.bench --profile` asks.

The kernel's profiling timer counts CPU time of the whole process, so waiting costs no samples.
"""

import atexit
import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.002
STACKS: Counter[tuple[str, ...]] = Counter()


def _sample(_number: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append(f"{code.co_filename}:{code.co_qualname}")
        frame = frame.f_back
    STACKS[tuple(stack)] += 1


def _write(path: Path) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    path.write_text(json.dumps([[stack, count] for stack, count in STACKS.items()]))


# Set for services only, not for `up` and what it starts to get there.
if (folder := os.environ.get("HEADRACE_BENCH_PROFILE")) and (instance := os.environ.get("HEADRACE_INSTANCE")):
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    atexit.register(_write, Path(folder) / f"{instance}.json")
