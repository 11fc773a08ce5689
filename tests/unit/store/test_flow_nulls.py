"""What null means inside of a flow's settings: as if the field had been left out."""

from libs.common.messages.approval import Approval
from libs.common.messages.flow import Execution, Retry
from tests.unit.store.test_flow import a_flow, add, update


def test_null_in_a_flows_execution_is_as_if_it_were_left_out() -> None:
    nothing = dict.fromkeys(("timeout", "maxConcurrent", "onFailFlowId"))
    assert update(a_flow(), execution=nothing).execution == Execution()


def test_null_in_a_steps_retry_is_as_if_it_were_left_out() -> None:
    nothing = dict.fromkeys(("count", "delayMs", "backoffMultiplier", "jitter", "maxDelayMs"))
    assert add(a_flow(), retry={**nothing, "count": 2}).layers[0].retry == Retry(count=2)


def test_null_in_a_steps_approval_is_as_if_it_were_left_out() -> None:
    nothing = dict.fromkeys(("approvers", "count", "timeout", "onTimeout", "escalateTo", "noSelfApproval"))
    assert add(a_flow(), approval={**nothing, "remindEverySeconds": None}).layers[0].approval == Approval()
