"""What a world is made of and what goes wrong in it, drawn from a seed."""

from collections.abc import Callable
from random import Random

import msgspec

from libs.common.messages.flow import Flow
from tests import builders
from tests.builders import a_layer
from tests.simulation.flows import COMPANY, THEMES, a_flow

# What goes wrong: one fault each, `all` of them; `sharp` and `late` ones next to commits, `deaf` and `quiet` lost
# answers and nudges, `race` and `gates` no fault at all but everybody at once.
KINDS = (
    *("calm", "crash", "stall", "network", "restart", "stop", "all", "all"),
    *("sharp", "sharp", "late", "deaf", "quiet", "crowd", "race", "gates", "loops", "operated"),
)
WEATHERS = (
    "append_lost",
    "append_ack_lost",
    "append_delayed",
    "read_lost",
    "nudge_lost",
    "ack_lost",
    "pull_lost",
)  # fmt: skip

SHORT_SHARE = 0.4
CARRIED_SHARE = 0.2


class Plan(msgspec.Struct, kw_only=True):
    """One world's cast and course. Times in seconds from the moment all executors are up."""

    executors: int = 2
    cluster: bool = False
    slots: int = 4  # of each executor, for work
    company_plays_max: int = 0
    batches: bool = False  # appends travel in atomic batches as soon as two wait
    flows: list[Flow]
    subflows: list[Flow] = []  # what their steps call
    starts: list[tuple[float, int, int]]  # when, which flow, how many start messages
    cancels: list[tuple[float, int]] = []  # when, which play
    cancel_times: int = 1
    approvals: float = 1.0  # how likely a pending approval is decided each time somebody looks
    declines: float = 0.1
    approve_times: int = 1
    look_s: float = 2.0  # how long at most between two looks for pending approvals
    revives: list[tuple[float, int]] = []
    carries: list[tuple[float, int]] = []  # when, which play is to be carried over (D16)
    holds: list[tuple[float, int, int]] = []  # when, which play, how many messages
    resumes: float = 0.5  # how likely a held play is resumed each time somebody looks
    retries: int = 0  # how often people retry a play that failed
    retriers: int = 2  # how many of them at once
    # Of processes. From when, which executor, after how many handles; stalls: for how long.
    crashes: list[tuple[float, int, int]] = []
    stalls: list[tuple[float, int, int, float]] = []
    # The same near a touch of the log: at the how manieth touch (or commit) in the world, so many handles later, for
    # how long; None is for ever.
    hits: list[tuple[int, int, float | None]] = []
    commit_hits: list[tuple[int, int, float | None]] = []
    stops: list[tuple[float, int]] = []  # graceful: when, which executor
    restarts: list[tuple[float, float, float]] = []  # of the server: when, how long away, how much it forgets
    skews: list[float] = []  # of the executors' wall clocks
    weather: dict[str, float] = {}
    entries: bool = False  # whether executors have the modules that read and write KV entries
    away: float = 0.0  # how likely the store of KV entries does not answer well
    short: bool = False  # histories of a few bytes are long, and values of a few bytes big

    @property
    def troubled(self) -> bool:
        """Tell whether anything goes wrong, or a process stops."""
        return self.broken or bool(self.stops)

    @property
    def broken(self) -> bool:
        """Tell whether anything goes wrong."""
        return any((self.crashes, self.stalls, self.hits, self.commit_hits, self.restarts, self.weather))


def draw(seed: int, kind: str = "") -> Plan:
    """Return the plan of a seed, of this kind or of a kind that the seed decides."""
    random = Random(seed)
    drawn = random.choice(KINDS)
    plan = _of_kind(drawn if kind in {"", "short"} else kind, random)
    if drawn not in _FAMILIES and kind not in _FAMILIES:
        _operate(plan, Random(f"operate {seed}"))
        _carry(plan, Random(f"carry {seed}"))
    plan.short = kind == "short" or Random(f"short {seed}").random() < SHORT_SHARE
    return plan


def _of_kind(kind: str, random: Random) -> Plan:
    if kind in _FAMILIES:
        return _FAMILIES[kind](random)
    plan = _cast(random, random.randint(1, 3), None)
    if kind in {"crash", "all"}:
        plan.crashes = [_fault(random, plan.executors) for _ in range(random.randint(1, 3))]
        plan.hits += [(*_touch(random), None) for _ in range(random.randint(1, 3))]
    if kind in {"stall", "all"}:
        plan.stalls = [
            (*_fault(random, plan.executors), _length_s(random)) for _ in range(random.randint(1, 3))
        ]
        plan.hits += [(*_touch(random), _length_s(random)) for _ in range(random.randint(1, 5))]
    if kind in {"stop", "all"}:
        plan.stops = [(random.uniform(0.5, 20), random.randrange(plan.executors))]
    if kind in {"restart", "all"} and random.random() < (1.0 if kind == "restart" else 0.4):
        plan.restarts = [
            (random.uniform(0.5, 20), random.choice((0.2, 0.8, 2.5, 15.0)), random.uniform(0, 0.5))
        ]
    if kind in {"network", "all"}:
        plan.weather = _weather(random)
    if random.random() < 0.2:
        plan.skews = [random.uniform(-2, 2) for _ in range(plan.executors)]
    return plan


def _cast(random: Random, plays: int, theme: str | None) -> Plan:
    plan = Plan(
        executors=random.choice((2, 2, 3)),
        cluster=random.random() < 0.4,
        batches=random.random() < 0.5,
        flows=[a_flow(random, theme or random.choice(sorted(THEMES)), flow_id=f"f{n}") for n in range(plays)],
        starts=[(random.uniform(0, 2), n, random.choice((1, 1, 1, 2))) for n in range(plays)],
        approvals=random.choice((0.9, 0.4)),
        approve_times=random.choice((1, 1, 2)),
    )
    for at, n, _ in plan.starts:
        if random.random() < 0.3:
            later = random.choice((0.0, 0.002, random.uniform(0, 0.1), random.uniform(0, 30)))
            plan.cancels.append((at + later, n))
        if random.random() < 0.15:
            plan.revives.append((at + random.uniform(0, 20), n))
    return plan


def _race(random: Random) -> Plan:
    """Facts for a play whose driver runs effects, with nobody to tell it."""
    plan = _cast(random, 3, "race")
    plan.look_s, plan.declines, plan.approvals = 0.9, 0.0, 0.6
    plan.cancels = []
    plan.weather = {"nudge_lost": random.choice((0.0, 1.0))}
    return plan


def _deaf(random: Random) -> Plan:
    """Appends that land while their acknowledgement is lost, on a server that calls their retry a conflict."""
    plan = _cast(random, 2, random.choice(("effects", "waits")))
    plan.cluster = False
    plan.weather = {"append_ack_lost": 0.3}
    return plan


def _carried(random: Random) -> Plan:
    """Plays that are carried over while they wait, and drivers that do not hear that their wait is durable."""
    plan = _cast(random, 1, random.choice(("waits", "two waits")))
    plan.cancels, plan.cluster, plan.approvals = [], False, 0.2
    plan.carries = [(random.uniform(0, 30), 0) for _ in range(random.choice((4, 8, 16)))]
    plan.weather = {"append_ack_lost": random.choice((0.2, 0.5))}
    if random.random() < 0.5:
        length_s = random.choice((None, random.uniform(2, 22)))
        plan.commit_hits = [(random.randint(1, 8), random.choice((1, 2, 3, 4)), length_s)]
    return plan


def _quiet(random: Random) -> Plan:
    """Cancels of long steps, and nobody to tell the driver."""
    plan = _cast(random, 2, "long")
    plan.cancels = [(at + random.uniform(0.5, 8), n) for at, n, _ in plan.starts]
    plan.cancel_times = random.choice((1, 2))
    plan.weather = {"nudge_lost": 1.0}
    return plan


def _late(random: Random) -> Plan:
    """A driver that is frozen between its wait and its timer, while others take the play to its next wait."""
    plan = _cast(random, 1, "two waits")
    plan.cancels = []
    plan.commit_hits = [(1, random.choice((1, 2)), random.uniform(12, 22))]
    return plan


def _stale(random: Random) -> Plan:
    """A driver that answers who asks for it and dies, and an asker that is frozen before it acknowledges."""
    step = a_layer("a", app_id="touch", args={"ms": 30_000})
    return Plan(
        executors=2,
        flows=[builders.a_flow(step, id="f0", company_id=COMPANY)],
        starts=[(0.0, 0, 1)],
        revives=[(1.0, 0)],
        hits=[(random.choice((3, 4, 5)), random.randint(1, 4), random.uniform(14, 20))],
        crashes=[(5.0, random.randrange(2), 1)],
    )


def _crowd(random: Random) -> Plan:
    """Many plays at once in few processes, so that their commits travel together; batches are lost and cut."""
    plan = _cast(random, 8, random.choice(("effects", "mixed")))
    plan.executors, plan.slots, plan.batches = random.choice((1, 2)), 16, True
    plan.starts = [(0.01 * random.random(), n, 1) for _, n, _ in plan.starts]
    plan.weather = random.choice(
        ({}, {"append_ack_lost": 0.1}, {"append_lost": 0.1}, {"append_delayed": 0.1})
    )
    if random.random() < 0.5:
        plan.hits = [(*_touch(random), random.choice((None, _length_s(random))))]
    return plan


def _loops(random: Random) -> Plan:
    """Loops, and processes that are frozen or lost in the middle of their batches."""
    plan = _cast(random, 1, "loops")
    plan.cancels = plan.cancels if random.random() < 0.3 else []
    plan.approvals, plan.look_s = 0.9, 0.6
    for _ in range(random.randint(1, 3)):
        length_s = None if random.random() < 0.5 else random.uniform(12, 24)
        plan.commit_hits.append((random.randint(1, 12), random.choice((1, 2, 3, 4)), length_s))
    return plan


def _unordered(random: Random) -> Plan:
    """A loop whose later items end before the earlier ones of their batch."""
    items = sorted(random.sample(range(5, 2_000), 3), reverse=True)
    layers = (
        a_layer("it", app_id="iterator", args={"items": items, "batchSize": 3}),
        a_layer("s0", app_id="touch", index=1, args={"ms": "{{ $prev.it.item }}"}),
        a_layer("all_s0", app_id="aggregator", index=2, args={"sourceRef": "s0"}),
    )
    flow = builders.a_flow(*layers, id="f0", company_id=COMPANY)
    return Plan(flows=[flow], starts=[(0.0, 0, 1)])


def _operate(plan: Plan, random: Random) -> None:
    """Let people hold and retry plays, in some worlds."""
    if random.random() < 0.25:
        plan.holds = [_hold(random, at, n) for at, n, _ in plan.starts]
    if random.random() < 0.25:
        plan.retries = random.choice((1, 2))


def _carry(plan: Plan, random: Random) -> None:
    """Carry plays over, in some worlds, whether or not they are parked just then."""
    if random.random() < CARRIED_SHARE:
        plan.carries = [(at + random.uniform(0.2, 40), n) for at, n, _ in plan.starts for _ in range(4)]


def _hold(random: Random, at: float, n: int) -> tuple[float, int, int]:
    later = random.choice((0.0, 0.002, random.uniform(0, 1), random.uniform(0, 20)))
    return at + later, n, random.choice((1, 1, 2))


def _operated(random: Random) -> Plan:
    """Plays that people hold, decide on, let go on and retry, while processes are frozen or lost."""
    plan = _cast(random, random.randint(1, 2), "operated")
    plan.cancels = plan.cancels if random.random() < 0.3 else []
    plan.holds = [_hold(random, at, n) for at, n, _ in plan.starts for _ in range(random.choice((0, 1, 2)))]
    plan.resumes, plan.look_s = random.choice((0.1, 0.5)), random.choice((0.6, 2.0))
    plan.approvals = random.choice((0.1, 0.4, 0.9))
    plan.retries = random.choice((0, 1, 2))
    for _ in range(random.choice((0, 0, 1, 2))):
        length_s = None if random.random() < 0.5 else random.uniform(12, 24)
        plan.commit_hits.append((random.randint(1, 12), random.choice((1, 2, 3, 4)), length_s))
    return plan


def _gates(random: Random) -> Plan:
    """Plays that hang once they were approved, and are cancelled: control commands must still get through."""
    plan = _cast(random, 3, "gates")
    plan.declines, plan.approvals = 0.0, 0.9
    plan.cancels = [(at + random.uniform(6, 12), n) for at, n, _ in plan.starts]
    return plan


def _sharp(random: Random) -> Plan:
    """One play, and a process that is frozen or lost right next to one of its commits, long enough for another."""
    plan = _cast(random, 1, random.choice(("waits", "effects")))
    plan.cancels = []
    for _ in range(random.randint(1, 2)):
        length_s = None if random.random() < 0.4 else random.uniform(12, 24)
        plan.commit_hits.append((random.randint(1, 6), random.choice((1, 2, 2, 3, 3, 4)), length_s))
    return plan


def _fault(random: Random, executors: int) -> tuple[float, int, int]:
    at = random.choice((0.0, random.uniform(0, 20)))
    return at, random.randrange(executors), 1 + int(random.expovariate(1 / 60))


def _touch(random: Random) -> tuple[int, int]:
    return 1 + int(random.expovariate(1 / 20)), random.choice((1, 2, 2, 3, 3, 4, 5, 6))


def _length_s(random: Random) -> float:
    return random.choice((random.uniform(0.1, 4), random.uniform(4, 12), random.uniform(12, 35)))


def _weather(random: Random) -> dict[str, float]:
    names = random.sample(WEATHERS, random.choice((1, 1, 2)))
    chosen = {name: random.choice((0.02, 0.1, 0.3)) for name in names}
    if "read_lost" in chosen:
        chosen["read_lost"] = 0.02
    if "nudge_lost" in chosen:
        chosen["nudge_lost"] = 1.0
    return {**chosen, "late": random.choice((0.0, 0.1)), "wake_twice": random.choice((0.0, 0.5))}


_FAMILIES: dict[str, Callable[[Random], Plan]] = {
    "race": _race,
    "gates": _gates,
    "loops": _loops,
    "unordered": _unordered,
    "operated": _operated,
    "sharp": _sharp,
    "late": _late,
    "stale": _stale,
    "deaf": _deaf,
    "quiet": _quiet,
    "carried": _carried,
    "crowd": _crowd,
}
