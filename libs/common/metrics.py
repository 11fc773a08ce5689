"""The metrics that services keep, by name; each process serves its own on its operations port."""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class CheapHistogram(Collector):
    """A histogram for what happens several times in a millisecond: observing costs half a microsecond, not three."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> None:
        self._family = (name, documentation)
        self._labels = labels
        self._cells: dict[tuple[str, ...], list[float]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one observation."""
        cell = self._cells.get(labels)
        if cell is None:
            # One count for each bucket, one for what lies beyond the last, and the sum.
            cell = self._cells[labels] = [0.0] * (len(SECONDS) + 2)
        cell[bisect_left(SECONDS, seconds)] += 1
        cell[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        """Return the metric as Prometheus reads it: cumulative buckets and the sum."""
        name, documentation = self._family
        family = HistogramMetricFamily(name, documentation, labels=self._labels)
        for labels, cell in self._cells.items():
            total, buckets = 0.0, []
            for bound, count in zip((*map(str, SECONDS), "+Inf"), cell, strict=False):
                total += count
                buckets.append((bound, total))
            family.add_metric(labels, buckets, sum_value=cell[-1])
        return [family]


class CheapCounter(Collector):
    """A counter with one label for what happens with every play: counting costs a fifth of a microsecond."""

    def __init__(self, name: str, documentation: str, label: str, values: tuple[str, ...]) -> None:
        """Count from 0 what these values of the label stand for."""
        self._family = (name, documentation)
        self._label = label
        self._counts = dict.fromkeys(values, 0)

    def inc(self, value: str) -> None:
        """Count one."""
        self._counts[value] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the metric as Prometheus reads it."""
        name, documentation = self._family
        family = CounterMetricFamily(name, documentation, labels=(self._label,))
        for value, count in self._counts.items():
            family.add_metric((value,), count)
        return [family]


REQUESTS = Counter("headrace_http_requests_total", "HTTP requests answered", ("method", "route", "status"))
REQUEST_SECONDS = CheapHistogram("headrace_http_request_seconds", "Time to answer", ("route",))
SOCKETS = Gauge("headrace_sockets_open", "WebSocket clients connected")
WAITERS = Gauge("headrace_waiters", "Calls that wait for a play's end")
PLAYS = CheapCounter(
    "headrace_plays_total",
    "Plays that reached a state by a commit of this executor",
    "state",
    ("DONE", "FAIL", "SKIP", "FILTERED"),
)
PLAY_SECONDS = CheapHistogram("headrace_play_seconds", "From the start command to the end")
STEP_SECONDS = CheapHistogram("headrace_step_seconds", "Time a module ran", ("module", "state"))
DRIVING = Gauge("headrace_plays_driven", "Plays driven by this executor now")
COMMITS = CheapCounter("headrace_commits_total", "Commits appended", "outcome", ("accepted", "conflict"))
for _collector in (REQUEST_SECONDS, PLAYS, PLAY_SECONDS, STEP_SECONDS, COMMITS):
    REGISTRY.register(_collector)
CONSUMER_PENDING = Gauge("headrace_consumer_pending", "Commands not yet delivered", ("consumer",))
PROJECTION_LAG = Gauge("headrace_projection_lag", "Messages of the log not yet projected", ("stream",))
PROJECTED = Counter("headrace_projected_total", "Messages projected", ("stream",))
NEWER = Counter(
    "headrace_newer_types_total", "Messages of types that only a newer release knows", ("type", "what")
)
SWEPT = Counter("headrace_revived_total", "Plays the sweep asked to revive")
CARRIED = Counter("headrace_carried_over_total", "Parked plays the sweep asked to carry over")

CHANNELS_OPEN = Gauge("headrace_channels_open", "Channels whose port this gateway serves")
CHANNEL_REQUESTS = Counter(
    "headrace_channel_requests_total", "Requests and frames of channels answered", ("status",)
)
CHANNEL_UNRECORDED = Counter(
    "headrace_channel_requests_unrecorded_total", "Requests of channels answered and not recorded"
)


def play_ended(state: str, started_at: datetime | None, now: datetime) -> None:
    """Count a play that this executor brought to its end."""
    PLAYS.inc(state)
    if started_at is not None:
        PLAY_SECONDS.observe((), (now - started_at).total_seconds())


FIRES = Counter("headrace_schedule_fires_total", "Decisions of schedules whose time had come")
