"""Worlds of plays whose steps read and write KV entries, drawn from a seed, and what they must keep (ADR 27).

All attempts of a step read the same; a step that runs twice writes once; no secret stands in any message. The first is
checked when an effect begins (`touched`), the rest when the world is at rest.
"""

from random import Random
from typing import TYPE_CHECKING, Any

from libs.common.messages import play as m
from libs.common.messages.flow import Flow, Layer, Retry
from tests import builders
from tests.builders import a_layer
from tests.simulation import plans
from tests.simulation.flows import COMPANY
from tests.simulation.plans import Plan
from tests.simulation.shelf import MOVING, TOKEN
from tests.simulation.streams import PLAYS
from tests.simulation.truth import Truth, Violated

if TYPE_CHECKING:
    from tests.simulation.world import World

KINDS = ("reads", "reads", "secret", "counts", "counts", "logs", "tells", "plain")
COUNT, LOG = "count", "log"


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    random = Random(f"entries {seed}")
    flows = [_flow(random, f"f{n}") for n in range(random.choice((1, 2, 3)))]
    plan = Plan(
        executors=random.choice((2, 3)),
        cluster=random.random() < 0.4,
        flows=flows,
        starts=[(random.uniform(0, 1), n, 1) for n in range(len(flows))],
        approvals=0.9,
        declines=0.1,
        look_s=1.5,
        short=random.random() < 0.3,
        entries=True,
        away=random.choice((0.0, 0.0, 0.1, 0.4)),
        retries=random.choice((0, 0, 1)),
    )
    for _ in range(random.choice((0, 1, 2, 3))):
        length_s = None if random.random() < 0.6 else plans._length_s(random)
        plan.commit_hits.append((random.randint(1, 10), random.choice((1, 2, 3, 4, 6, 9)), length_s))
    for _ in range(random.choice((0, 1, 2))):
        plan.hits.append((*plans._touch(random), random.choice((None, plans._length_s(random)))))
    if random.random() < 0.2:
        plan.weather = plans._weather(random)
    if random.random() < 0.1:
        plan.stops = [(random.uniform(0.5, 10), random.randrange(plan.executors))]
    if random.random() < 0.3:
        plan.holds = [plans._hold(random, at, n) for at, n, _ in plan.starts]
    return plan


def _flow(random: Random, id: str) -> Flow:
    layers = [
        _layer(random, f"s{number}", index=number // random.choice((1, 2)))
        for number in range(random.randint(1, 5))
    ]
    return builders.a_flow(*layers, id=id, company_id=COMPANY)


def _layer(random: Random, ref: str, *, index: int) -> Layer:
    kind = random.choice(KINDS)
    fields: dict[str, Any] = {"app_id": "touch"}
    retry = Retry(count=2, delay_ms=random.choice((0, 100, 3_000)))
    moving = f'{{{{ $kv.get "{MOVING}" }}}}'
    match kind:
        case "reads" | "secret":
            seen = f'{{{{ $kv.get "{TOKEN}" }}}}' if kind == "secret" else moving
            ms, fails = random.choice((0, 5, 400, 4_000)), random.choice((0, 0, 1, 2, 3))
            fields |= {"args": {"ms": ms, "fails": fails, "seen": seen}, "retry": retry}
        case "counts":
            fields = {"app_id": "kv-increment", "args": {"key": COUNT, "scope": "global"}, "timeout": 60}
        case "logs":
            value = f"{ref} of {{{{ $prev.args.n }}}}"
            fields = {"app_id": "kv-append", "args": {"key": LOG, "value": value, "scope": "global"}}
            fields["timeout"] = 60
        case "tells":
            fields = {"app_id": "tell", "args": {"fails": random.choice((0, 1, 2, 3)), "seen": moving}}
            fields["retry"] = retry
        case _:
            fields["args"] = {"ms": random.choice((0, 80))}
    if random.random() < 0.15:
        fields["needs_approval"] = True
    if random.random() < 0.15:
        fields["filters"] = ({"leftValue": moving, "operator": "ne", "rightValue": "nothing"},)
    return a_layer(ref, index=index, **fields)


def check(world: "World") -> None:
    """Raise Violated where a law of entries is broken, now that the world is at rest."""
    secrets = [secret.encode() for secret in world.shelf.secrets]
    for kept in world.server.streams[PLAYS].messages.values():
        if any(secret in kept.data for secret in secrets):
            raise Violated(f"D14: {kept.subject} at {kept.sequence} holds a secret in the clear")
    plays = list(world.laws.plays.values())
    for truth in plays:
        _told_the_same(truth)
    of = {(flow.id, step.ref): step.app_id for flow in world.plan.flows for step in flow.layers}
    for app_id, times in (
        ("kv-increment", int(world.shelf.values.get(COUNT, 0))),
        ("kv-append", len(world.shelf.values.get(LOG, ()))),
    ):
        began, ended = _runs(plays, of, app_id)
        if not len(ended) <= times <= len(began):
            raise Violated(f"I3: {len(began)} steps began to write and {len(ended)} ended, {times} wrote")


def _runs(
    plays: list[Truth], of: dict[tuple[str, str], str], app_id: str
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    began, ended = set(), set()
    for truth in plays:
        for event in (event for commit in truth.commits for event in commit.events):
            if not isinstance(event, m.LayerEvent) or of[truth.key.flow_id, event.ref] != app_id:
                continue
            if isinstance(event, m.LayerStarted):
                began.add((truth.key.play_id, event.ref))
            if isinstance(event, m.LayerCompleted) and event.state == "DONE":
                ended.add((truth.key.play_id, event.ref))
    return began, ended


def _told_the_same(truth: Truth) -> None:
    """Check that the attempts of a pure step, whose errors and output say it, have read the same."""
    told: dict[str, Any] = {}
    for event in (event for commit in truth.commits for event in commit.events):
        match event:
            case m.PlayRetried():
                told = {ref: seen for ref, seen in told.items() if ref not in event.refs}
            case m.LayerRetrying() if event.error.startswith("I saw "):
                _tell(truth, told, event.ref, event.error.removeprefix("I saw "))
            case m.LayerCompleted(out={"saw": seen}):
                _tell(truth, told, event.ref, seen)
            case _:
                pass


def _tell(truth: Truth, told: dict[str, Any], ref: str, seen: str) -> None:
    if told.setdefault(ref, seen) != seen:
        raise Violated(f"KV: step {ref} of {truth.key.play_id} read {told[ref]}, and then {seen}")
