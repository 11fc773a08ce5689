"""Worlds by seed of plays that wait: for other plays, and for a slot of a limit (spec flow8 sections 10, 11, 17.1)."""

from collections.abc import Callable
from random import Random
from typing import Any

from libs.common.messages.flow import Execution, Flow, Layer, Retry
from tests import builders
from tests.builders import a_layer
from tests.simulation import plans
from tests.simulation.flows import COMPANY
from tests.simulation.plans import Plan

# Whoever waits so long has lost what it waits for: a world gives up before.
NEVER_S = 5_000
MID, ERROR, LEAF = f"{1:024x}", f"{2:024x}", 16
LEAVES = ("quick", "quick", "slow", "slow", "fails", "gated", "hangs")
SLOW_MS = 4_000


def draw(seed: int, kind: str = "") -> Plan:
    """Return the plan of a seed, of this kind or of a kind that the seed decides."""
    random = Random(f"families {seed}")
    return KINDS[kind or random.choice(sorted(KINDS))](random)


# ── plays that call plays ───────────────────────────────────────────────────────────────────────────


def _family(random: Random) -> Plan:
    """Parents, children and children of children; cancels and timeouts next to the end of a child."""
    leaves = [_leaf(random, n, kind) for n, kind in enumerate(random.choices(LEAVES, k=2))]
    mid = _caller(random, MID, leaves)
    count = random.choice((1, 1, 2))
    tops = [_caller(random, f"f{n}", [mid, *leaves], mid=mid) for n in range(count)]
    plan = _plan(random, tops, subflows=[mid, *leaves, _error_flow()])
    for at, n, _ in plan.starts:
        if random.random() < 0.4:
            plan.cancels.append((at + random.choice((SLOW_MS / 1000, 2.0, 7.0)) + random.uniform(-0.1, 1), n))
    _trouble(random, plan, commits_max=20)
    return plan


def _async_family(random: Random) -> Plan:
    """Children that nobody waits for; a process is lost between the start of one and the end of its step."""
    leaf = _leaf(random, 0, random.choice(("quick", "slow")))
    steps = [_call(random, n, leaf, is_async=True) for n in range(random.choice((1, 2)))]
    top = _flow("f0", steps)
    plan = _plan(random, [top], subflows=[leaf])
    plan.hits = [(random.randint(4, 16), random.randint(1, 6), None) for _ in range(2)]
    return plan


def _unhurried(random: Random) -> Plan:
    """Parents that wait for slow children, and nothing goes wrong."""
    leaf = _leaf(random, 0, "slow")
    tops = [_flow(f"f{n}", [_call(random, 0, leaf, is_async=False)]) for n in range(4)]
    return _plan(random, tops, subflows=[leaf])


def _deploys(random: Random) -> Plan:
    """Executors that are told to stop, one after another, while much begins and ends; nothing goes wrong."""
    leaves = [_leaf(random, n, kind) for n, kind in enumerate(("quick", "gated"))]
    tops = [_flow(f"f{n}", [_call(random, 0, leaves[n % 2], is_async=False)]) for n in range(6)]
    plan = _plan(random, tops, subflows=leaves)
    plan.executors, plan.look_s = 3, 0.1
    plan.starts = [(random.uniform(0, 6), n, 1) for n in range(len(tops))]
    plan.stops = [
        (at + random.choice((0.0, 0.002, 0.5)), random.randrange(plan.executors)) for at, _, _ in plan.starts
    ]
    return plan


def _orphans(random: Random) -> Plan:
    """A parent that is cancelled or runs out of time while its child hangs, and processes lost next to that."""
    leaf = _leaf(random, 0, "hangs")
    timeout = random.choice((NEVER_S, 4))
    step = a_layer("s0", app_id="subflow", args=_args(leaf, "s0", timeout=timeout))
    top = _flow("f0", [step])
    plan = _plan(random, [top], subflows=[leaf])
    plan.cancels = [(plan.starts[0][0] + random.uniform(0, 6), 0)] if timeout == NEVER_S else []
    _trouble(random, plan, commits_max=10)
    return plan


def _leaf(random: Random, number: int, kind: str) -> Flow:
    layer: dict[str, Any] = {"app_id": "touch"}
    match kind:
        case "quick":
            layer["args"] = {"ms": random.choice((0, 5, 300))}
        case "slow":
            layer["args"] = {"ms": random.choice((SLOW_MS, SLOW_MS, 11_000))}
        case "fails":
            layer["args"] = {"ms": 10, "fails": 9}
        case "gated":
            layer |= {"app_id": "note", "needs_approval": True}
        case "hangs":
            layer |= {"args": {"hangs": True}, "timeout": NEVER_S}
    slots = random.choice((0, 0, 1))
    out = a_layer("out", index=1, args={"value": kind})
    return _flow(f"{LEAF + number:024x}", [a_layer("work", **layer), out], slots=slots, name=kind)


def _caller(random: Random, id: str, callees: list[Flow], *, mid: Flow | None = None) -> Flow:
    called = [mid] if mid is not None and random.random() < 0.7 else []
    called += random.choices(callees, k=random.choice((1, 1, 2)))
    steps = [_call(random, n, callee) for n, callee in enumerate(called)]
    on_fail = ERROR if random.random() < 0.5 else None
    return _flow(id, steps, slots=random.choice((0, 0, 0, 1)), on_fail=on_fail)


def _call(random: Random, number: int, callee: Flow, *, is_async: bool | None = None) -> Layer:
    ref = f"s{number}"
    hangs = callee.name == "hangs"
    if is_async is None:
        is_async = not hangs and random.random() < 0.25
    timeout: float = random.choice((3, 8)) if hangs else NEVER_S
    if not hangs and random.random() < 0.25:
        timeout = random.choice((2, SLOW_MS / 1000, SLOW_MS / 1000 + 0.05))
    retry = Retry(count=1, delay_ms=random.choice((10, 3_000))) if random.random() < 0.2 else Retry()
    return a_layer(
        ref,
        index=random.choice((0, number)),
        app_id="subflow",
        args=_args(callee, ref, timeout=timeout, is_async=is_async),
        retry=retry,
        on_error=random.choice(("continue", "fail")),
    )


def _args(callee: Flow, ref: str, *, timeout: float, is_async: bool = False) -> dict[str, Any]:
    return {"flowId": callee.id, "args": {"by": ref}, "timeout": timeout, "async": is_async}


def _error_flow() -> Flow:
    return _flow(ERROR, [a_layer("said", args={"value": "{{ $prev.args.playId }}"})])


# ── plays that wait for a slot ──────────────────────────────────────────────────────────────────────


def _lanes(random: Random) -> Plan:
    """More plays than a flow, or their company, may run at once; some are cancelled in line."""
    slots, company = random.choice(((1, 0), (2, 0), (0, 1), (0, 2), (1, 2)))
    step = a_layer("a", app_id="touch", args={"ms": random.choice((0, 400, 3_000))})
    gate = a_layer("b", index=1, args={"value": 1}, needs_approval=random.random() < 0.2)
    flows = [_flow(id, [step, gate], slots=slots) for id in random.choice((("f0",), ("f0", "f1")))]
    plan = _plan(random, [random.choice(flows) for _ in range(random.randint(3, 6))])
    plan.company_plays_max = company
    plan.slots = random.choice((2, 4))
    for at, n, _ in plan.starts:
        if random.random() < 0.25:
            plan.cancels.append((at + random.choice((0.0, 0.002, random.uniform(0, 8))), n))
    _trouble(random, plan, commits_max=24)
    return plan


def _two_limits(random: Random) -> Plan:
    """Two flows of one slot each in a company of two: one end may let the same play in twice, once by each lane."""
    step = a_layer("a", app_id="touch", args={"ms": random.choice((0, 0, 20))})
    flows = [_flow(id, [step], slots=1) for id in ("f0", "f1")]
    plan = _plan(random, [random.choice(flows) for _ in range(8)])
    plan.starts = [(random.uniform(0, 0.2), n, 1) for n in range(8)]
    # Who frees a slot stalls before it frees the next.
    plan.commit_hits = [
        (random.randint(1, 20), random.choice((2, 3, 4, 6)), random.choice((0.1, 0.4))) for _ in range(4)
    ]
    plan.company_plays_max = 2
    plan.slots = 4
    return plan


def _lane_of_one(random: Random) -> Plan:
    """One slot and three short plays: somebody is always being let in when a process is lost or frozen."""
    step = a_layer("a", app_id="touch", args={"ms": random.choice((0, 1_000))})
    plan = _plan(random, [_flow("f0", [step], slots=1)] * 3)
    plan.starts = [(random.uniform(0, 0.2), n, 1) for n in range(3)]
    if random.random() < 0.5:
        at, n, _ = random.choice(plan.starts)
        plan.cancels = [(at + random.uniform(0, 2), n)]
    _trouble(random, plan, commits_max=12)
    return plan


def _late_taker(random: Random) -> Plan:
    """Whoever is about to take a slot is frozen until the play was cancelled and its start is done, then lost."""
    plan = _plan(random, [_flow("f0", [a_layer("a", app_id="touch")], slots=1)])
    plan.starts, plan.cancels = [(0.0, 0, 1)], [(1.0, 0)]
    plan.executors, plan.short, plan.batches = 2, False, False
    plan.hits = [(random.randint(1, 4), random.randint(1, 5), random.uniform(12, 20))]
    plan.crashes = [(5.0, random.randrange(2), random.randint(2, 40))]
    return plan


def _retried_lanes(random: Random) -> Plan:
    """Plays of a limited flow that fail, are retried and held, in line as well, and processes lost next to that."""
    slots, company = random.choice(((1, 0), (1, 0), (2, 0), (0, 1), (1, 2)))
    # Most attempts fail at first; what fails always is retried until people give up.
    step = a_layer(
        "a", app_id="touch", args={"ms": random.choice((0, 400, 2_000)), "fails": random.choice((1, 1, 2, 9))}
    )
    gate = a_layer("b", index=1, args={"value": 1}, needs_approval=random.random() < 0.2)
    flow = _flow("f0", [step, gate], slots=slots, on_fail=ERROR if random.random() < 0.4 else None)
    plan = _plan(random, [flow] * random.randint(1, 4), subflows=[_error_flow()])
    plan.company_plays_max = company
    plan.retries = random.choice((1, 1, 2))
    plan.look_s = random.choice((0.6, 2.0))
    plan.resumes = random.choice((0.2, 0.6))
    for at, n, _ in plan.starts:
        if random.random() < 0.4:
            plan.holds.append(
                (at + random.choice((0.0, 0.002, random.uniform(0, 8))), n, random.choice((1, 2)))
            )
        if random.random() < 0.2:
            plan.cancels.append((at + random.uniform(0, 10), n))
    _trouble(random, plan, commits_max=30)
    return plan


def _frozen_in_line(random: Random) -> Plan:
    """Whoever put a play in line is frozen before its acknowledgement; whoever lets it in is lost before it says so."""
    step = a_layer("a", app_id="touch", args={"ms": random.choice((6_000, 8_000, 10_000))})
    plan = _plan(random, [_flow("f0", [step], slots=1)] * 2)
    plan.starts, plan.executors, plan.batches = [(0.0, 0, 1), (0.3, 1, 1)], 3, False
    frozen = (random.choice((3, 4, 5)), random.randint(1, 6), random.uniform(14, 30))
    plan.commit_hits = [frozen, (random.choice((5, 6, 7)), random.randint(1, 4), None)]
    return plan


def _frozen_retry(random: Random) -> Plan:
    """Whoever puts a retry in line is frozen, right before or after that, while the slot it waits for is freed."""
    cancelled = random.random() < 0.5
    fails = a_layer("a", app_id="touch", args={"ms": 3_000} if cancelled else {"fails": 9})
    slow = a_layer("a", app_id="touch", args={"ms": random.choice((700, 900, 1_500))})
    plan = _plan(random, [_flow("f0", [fails], slots=1), _flow("f0", [slow], slots=1)])
    plan.starts, plan.executors, plan.batches, plan.cluster = [(0.0, 0, 1), (0.1, 1, 1)], 3, False, False
    plan.cancels = [(0.05, 0)] if cancelled else []
    plan.retries, plan.retriers, plan.look_s = 1, 1, 0.5
    for_s = random.uniform(1.0, 2.5)
    if random.random() < 0.5:
        plan.commit_hits = [(random.choice((4, 5, 6)), random.randint(1, 8), for_s)]
    else:
        plan.hits = [(random.randint(17, 20), random.randint(3, 4), for_s)]
    return plan


# ── what they have in common ────────────────────────────────────────────────────────────────────────


def _flow(
    id: str, layers: list[Layer], *, slots: int = 0, on_fail: str | None = None, name: str = "some"
) -> Flow:
    execution = Execution(max_concurrent=slots, on_fail_flow_id=on_fail)
    return builders.a_flow(*layers, id=id, company_id=COMPANY, execution=execution, name=name)


def _plan(random: Random, flows: list[Flow], *, subflows: list[Flow] | None = None) -> Plan:
    return Plan(
        executors=random.choice((2, 3)),
        cluster=random.random() < 0.4,
        batches=random.random() < 0.3,
        flows=flows,
        subflows=subflows or [],
        starts=[(random.uniform(0, 1), n, random.choice((1, 1, 1, 2))) for n in range(len(flows))],
        approvals=0.9,
        declines=0.1,
        look_s=1.5,
        short=random.random() < 0.3,
    )


def _trouble(random: Random, plan: Plan, *, commits_max: int) -> None:
    """Lose or freeze processes next to commits, wherever they are, and let the network lose a little."""
    for _ in range(random.choice((0, 1, 2, 3))):
        length_s = None if random.random() < 0.6 else plans._length_s(random)
        plan.commit_hits.append((random.randint(1, commits_max), random.choice((1, 2, 3, 4, 6, 9)), length_s))
    if random.random() < 0.3:
        at = (random.uniform(0, 10), random.randrange(plan.executors), random.randint(1, 120))
        plan.crashes.append(at)
    if random.random() < 0.15:
        plan.weather = plans._weather(random)
    if random.random() < 0.1:
        plan.stops = [(random.uniform(0.5, 10), random.randrange(plan.executors))]


KINDS: dict[str, Callable[[Random], Plan]] = {
    "family": _family,
    "async": _async_family,
    "unhurried": _unhurried,
    "deploys": _deploys,
    "orphans": _orphans,
    "lanes": _lanes,
    "two limits": _two_limits,
    "lane of one": _lane_of_one,
    "late taker": _late_taker,
    "frozen in line": _frozen_in_line,
    "retried lanes": _retried_lanes,
    "frozen retry": _frozen_retry,
}
