"""What a filter, an expression and a module call cost by themselves; alone: `python -m tests.bench.parts`."""

import time
from collections.abc import Callable
from typing import Any

from libs.expressions import Scope, StepView, compile_module_args
from libs.expressions.filters import compile_filters
from services.executor.modules.contract import PureModule
from services.executor.modules.registry import decode_args
from tests.fixtures.modules import MODULES, NOW, a_step

# Ten parts of 3 to 30 microseconds take about two seconds.
TIMES, ROUNDS = 4_000, 5
FILTERS = {
    "a filter": ("{{ $prev.args.n }}", "gt", "3"),
    "a filter with a regular expression": ("{{ $prev.args.name }}", "regex", "^A.*a$"),
}
EXPRESSIONS = {
    "a path": "{{ $prev.a.items[0].price }}",
    "a nested call": "{{ add (mul $prev.args.n 2) 1 }}",
    "three calls, one of them `printf`": '{{ upper (printf "%s-%d" $prev.args.name (add $prev.args.n 1)) }}',
    "a text with two paths": "Dear {{ $prev.args.name }}, you pay {{ $prev.a.items[0].price }} EUR",
    "`xpathFirst` of a small document": '{{ xpathFirst "<o><i>Ink</i></o>" "/o/i" }}',
}
CALLS: dict[str, dict[str, Any]] = {
    "var": {"values": {"n": 1, "text": "x"}},
    "router": {"routes": [{"condition": True, "label": "a"}]},
    "template": {"template": "Hi {{ .name }}", "data": {"name": "Ada"}},
}


def costs_us() -> dict[str, float]:
    """Return what each part costs, in microseconds of CPU time."""
    return {name: round(cost_us(act), 1) for name, act in parts().items()}


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
    found: dict[str, Callable[[], Any]] = {}
    for name, (left, operator, right) in FILTERS.items():
        filters = compile_filters([{"leftValue": left, "operator": operator, "rightValue": right}])
        found[name] = lambda filters=filters: filters.passes(scope)  # type: ignore[misc]
    for name, text in EXPRESSIONS.items():
        args = compile_module_args({"it": text}, raw=frozenset())
        found[name] = lambda args=args: args.evaluate(scope)  # type: ignore[misc]
    for app_id, given in CALLS.items():
        module = MODULES.get(app_id)
        assert isinstance(module, PureModule)
        found[f"a call of the module `{app_id}`"] = lambda module=module, given=given: module.evaluate(  # type: ignore[misc]
            decode_args(module, given), a_step()
        )
    return found


if __name__ == "__main__":
    for name, cost in costs_us().items():
        print(f"| {name} | {cost} |")
