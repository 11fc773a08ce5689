"""What a step read as a secret is not handed to another play: it would stand in that play's start (design D14)."""

from typing import Any, cast

import pytest

from services.executor.modules.contract import ModuleFailed, Step
from services.executor.modules.subflow import Subflow, SubflowArgs
from tests.builders import AT

SECRET = "hunter22"


@pytest.mark.parametrize("args", [{"a": SECRET}, {"a": [{"b": f"Bearer {SECRET}"}]}])
async def test_a_secret_in_the_args_of_a_child_is_refused_without_being_named(args: dict[str, Any]) -> None:
    step = Step(
        company_id="c",
        flow_id="f",
        play_id="p",
        ref="call",
        idempotency_key="p:call",
        attempt=1,
        now=AT,
        secrets=frozenset({SECRET}),
    )
    with pytest.raises(ModuleFailed, match="secret entry") as failed:
        # Refused before anything is asked of a service.
        await Subflow().run(SubflowArgs(flow_id="any", args=args), step, cast("Any", None))
    assert failed.value.final
    assert SECRET not in failed.value.message
