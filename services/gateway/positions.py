"""How far into each stream a company's callers know: what their next answer must include (D11)."""

from collections import OrderedDict
from collections.abc import Mapping

from libs.common import subjects
from libs.common.errors import Invalid

HEADER = "Headrace-Sequence"
COMPANIES_MAX = 10_000
SEQUENCE_MAX = 2**63 - 1
STREAMS_MAX = 64


class Positions:
    """The highest sequence this gateway stored, or showed, per company and stream."""

    def __init__(self, shards: int) -> None:
        self._streams = {
            subjects.DEFINITIONS,
            subjects.KV,
            subjects.SCHEDULES,
            *map(subjects.plays_stream, range(shards)),
        }
        self._known: OrderedDict[str, dict[str, int]] = OrderedDict()

    def note(self, company_id: str, stream: str, sequence: int) -> None:
        """Remember a place; a lower one than known changes nothing."""
        known = self._known.get(company_id)
        if known is None:
            known = self._known[company_id] = {}
            if len(self._known) > COMPANIES_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(company_id)
        if sequence > known.get(stream, 0):
            known[stream] = sequence

    def of(self, company_id: str, header: str | None = None) -> dict[str, int]:
        """Return what an answer must include: what is known here, and what the caller's header names of our streams.

        Raises Invalid when the header is not in the form that `format_header` gives.
        """
        known = dict(self._known.get(company_id, ()))
        for stream, sequence in parse_header(header).items() if header else ():
            if stream in self._streams:
                known[stream] = max(sequence, known.get(stream, 0))
        return known


def parse_header(header: str) -> dict[str, int]:
    """Read `PLAYS_0=42,PLAYS_1=7`. Raises Invalid when it is anything else."""
    found: dict[str, int] = {}
    for part in header.split(",")[:STREAMS_MAX]:
        stream, _, number = part.strip().partition("=")
        if not (stream and number.isascii() and number.isdigit() and len(number) < 20):
            raise Invalid(f"{HEADER}: expected stream=sequence, comma-separated")
        found[stream] = min(int(number), SEQUENCE_MAX)
    return found


def format_header(positions: Mapping[str, int]) -> str:
    """Write positions as the header's value."""
    return ",".join(f"{stream}={sequence}" for stream, sequence in positions.items())
