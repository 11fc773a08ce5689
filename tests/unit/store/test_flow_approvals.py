"""What the rules of an approval mean for a step that is defined (ADR 35)."""

from tests.unit.store.test_flow import a_flow, add, change


def test_who_gives_a_step_rules_of_an_approval_lets_it_wait_unless_told_otherwise() -> None:
    rules = {"count": 2}
    ruled = add(a_flow(), approval=rules)
    assert ruled.layers[0].needs_approval
    assert change(add(a_flow()), approval=rules).layers[0].needs_approval
    lifted = change(ruled, needs_approval=False)
    assert not lifted.layers[0].needs_approval
    assert not change(lifted, name="Other").layers[0].needs_approval
    assert not add(a_flow(), approval=rules, needs_approval=False).layers[0].needs_approval
    assert not add(a_flow(), approval=None).layers[0].needs_approval
