"""A closed loop of load: so many callers, each of which starts its next play when it has the result of the last."""

import asyncio
import time
from dataclasses import dataclass, field

from tests.bench.http_client import Api, Connection

DONE = b'"state":"DONE"'
# A channel answers with the output alone when the play is DONE.
PLAYED = b"\r\nHeadrace-Play-Id: "
OK = b"HTTP/1.1 200"
# Answers come after 30 s at the latest (`?wait=30`); callers that are still without one are given up.
DRAIN_S_MAX = 32.0
SHOWN_BYTES_MAX = 300


@dataclass
class Result:
    """What a round of load saw; seconds and latencies as the callers measured them."""

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    accepted: int = 0
    failed: int = 0
    first_failure: str = ""
    generator_cpu_s: float = 0.0

    @property
    def done(self) -> int:
        """Return how many plays ended DONE."""
        return len(self.latencies_s)

    def percentile_ms(self, percent: float) -> float:
        """Return the latency that so many percent of the plays did not exceed; 0 without plays."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class _Round:
    """The callers of one round and what they saw."""

    def __init__(self, request: bytes, until_s: float, plays_max: int) -> None:
        self.result = Result()
        self.over = asyncio.Event()
        self._request, self._until_s, self._left = request, until_s, plays_max
        self._callers = 0

    def begin(self, connection: Connection) -> None:
        """Let one more caller start plays."""
        self._callers += 1
        self._start(connection)

    def _start(self, connection: Connection) -> None:
        began_s = time.perf_counter()
        if self._left <= 0 or began_s >= self._until_s:
            self._callers -= 1
            if not self._callers:
                self.over.set()
            return
        self._left -= 1

        def answered(head: bytes, body: bytes) -> None:
            self._note(time.perf_counter() - began_s, head, body)
            self._start(connection)

        connection.ask(self._request, answered)

    def _note(self, latency_s: float, head: bytes, body: bytes) -> None:
        result = self.result
        accepted = head.startswith(OK)
        result.accepted += accepted
        if accepted and (DONE in body or PLAYED in head):
            result.latencies_s.append(latency_s)
            return
        result.failed += 1
        if not result.first_failure:
            result.first_failure = f"{head[9:40]!r} {body[:SHOWN_BYTES_MAX]!r}"
        if not accepted:
            # A caller that is refused at once would only spin.
            self._left = 0


async def run(api: Api, request: bytes, *, in_flight: int, seconds: float, plays_max: int) -> Result:
    """Keep `in_flight` requests under way for so many seconds, at most `plays_max`; wait for the last answers."""
    connections = [await api.connect() for _ in range(in_flight)]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    load = _Round(request, began_s + seconds, plays_max)
    for connection in connections:
        load.begin(connection)
    try:
        await asyncio.wait_for(load.over.wait(), seconds + DRAIN_S_MAX)
    except TimeoutError:
        load.result.first_failure = load.result.first_failure or "answers are missing"
    load.result.elapsed_s = time.perf_counter() - began_s
    load.result.generator_cpu_s = time.process_time() - cpu_s
    for connection in connections:
        connection.close()
    return load.result
