"""A module in a process of its own: its outputs, its refusals, and its limits."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from services.executor import isolation
from services.executor.modules.contract import ModuleFailed, Step

STEP = Step(
    company_id="c" * 24,
    flow_id="f" * 24,
    play_id="a" * 24,
    ref="read",
    idempotency_key="k",
    attempt=1,
    now=datetime(2026, 3, 14, tzinfo=UTC),
)


def task(text: str, **more: Any) -> isolation.Task:
    fields = {
        "app_id": "json-parse",
        "args": {"input": text},
        "step": STEP,
        "output_bytes_max": 1_000,
        **more,
    }
    return isolation.Task(**fields)


async def test_an_isolated_module_puts_out_what_it_would_here() -> None:
    assert await isolation.evaluate(task('{"a": [1]}')) == {"result": {"a": [1]}}


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (task("{"), "MODULE_ERROR"),
        (task('"' + "x" * 2_000 + '"'), "OUTPUT_TOO_LARGE"),
        (task("1", app_id="var"), "MODULE_ERROR"),
        (task("[" * 50_000, memory_bytes_max=1), "ISOLATION_LIMIT"),
    ],
)
async def test_what_it_refuses_and_where_its_limits_are(wish: isolation.Task, code: str) -> None:
    with pytest.raises(ModuleFailed) as failed:
        await isolation.evaluate(wish)
    assert failed.value.code in {code, "MODULE_ERROR"}


async def test_a_cancelled_step_takes_its_process_with_it() -> None:
    running = asyncio.create_task(isolation.evaluate(task("1")))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
