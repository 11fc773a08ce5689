"""What a filter, an expression and a module call cost by themselves: `python -m tests.bench.parts`."""

import time
from collections.abc import Callable
from typing import Any

from libs.expressions import Scope, StepView, compile_module_args
from libs.expressions.filters import compile_filters
from services.executor.modules.contract import PureModule
from services.executor.modules.registry import decode_args
from tests.fixtures.modules import MODULES, NOW, a_step

TIMES, ROUNDS = 10_000, 5
EXPRESSIONS = {
    "a path": "{{ $prev.a.items[0].price }}",
    "three calls": '{{ upper (printf "%s-%d" $prev.args.name (add $prev.args.n 1)) }}',
    "`xpathFirst` of a small document": '{{ xpathFirst "<o><i>Ink</i></o>" "/o/i" }}',
}
CALLS: dict[str, dict[str, Any]] = {
    "var": {"values": {"n": 1, "text": "x"}},
    "router": {"routes": [{"condition": True, "label": "a"}]},
    "template": {"template": "Hi {{ .name }}", "data": {"name": "Ada"}},
}


def cost_us(act: Callable[[], Any]) -> float:
    """Return the CPU time of one call in microseconds, of the best round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            act()
        rounds.append((time.process_time() - began) / TIMES * 1e6)
    return min(rounds)


def parts() -> dict[str, Callable[[], Any]]:
    """Return what is measured, compiled and ready to run."""
    scope = Scope(
        prev={"args": {"n": 5, "name": "Ada"}, "a": StepView(out={"items": [{"price": 3}]}, state="DONE")},
        flow_id="flow", play_id="play", company_id="company", now=NOW, seed="seed",
    )  # fmt: skip
    filters = compile_filters([{"leftValue": "{{ $prev.args.n }}", "operator": "gt", "rightValue": "3"}])
    found: dict[str, Callable[[], Any]] = {"a filter": lambda: filters.passes(scope)}
    for name, text in EXPRESSIONS.items():
        args = compile_module_args({"it": text}, raw=frozenset())
        found[name] = lambda args=args: args.evaluate(scope)  # type: ignore[misc]
    for app_id, given in CALLS.items():
        module = MODULES.get(app_id)
        assert isinstance(module, PureModule)
        found[f"the module `{app_id}`"] = lambda module=module, given=given: module.evaluate(  # type: ignore[misc]
            decode_args(module, given), a_step()
        )
    return found


if __name__ == "__main__":
    for name, act in parts().items():
        print(f"| {name} | {cost_us(act):.1f} |")
