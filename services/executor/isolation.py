"""A pure module in a process of its own: what it may use is limited, and what it breaks is its own.

The process has no environment, no services and no connection; memory, CPU time, open files and the size of files it
writes are limited (setrlimit). It is not a sandbox: it runs as the same user, on the same file system.
"""

import asyncio
import os
import sys
from typing import Any

import msgspec

from services.executor.modules.contract import ModuleFailed, Step

MEMORY_BYTES_MAX = 1_073_741_824
CPU_S_MAX = 60
CHILD = "services.executor.isolated"
KILLED = "the isolated process ended by itself, most likely at a limit of memory or CPU time"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to do, and within which limits."""

    app_id: str
    args: dict[str, Any]
    step: Step
    output_bytes_max: int
    memory_bytes_max: int = MEMORY_BYTES_MAX
    cpu_s_max: int = CPU_S_MAX


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: an output, or why there is none."""

    out: Any = None
    error: str | None = None
    code: str = "MODULE_ERROR"
    final: bool = False


async def evaluate(task: Task) -> Any:
    """Return what the module puts out. Raises ModuleFailed; when it is cancelled the process is killed."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=kept,
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(task))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ModuleFailed(f"{task.app_id}: {KILLED}", code="ISOLATION_LIMIT", final=True)
    answer = msgspec.json.decode(said, type=Answer)
    if answer.error is not None:
        raise ModuleFailed(answer.error, code=answer.code, final=answer.final)
    return answer.out
