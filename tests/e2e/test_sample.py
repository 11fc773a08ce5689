"""`headrace up --sample` shows a flow on real data: what it finds is what the tables say, counted another way."""

import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files

import aiohttp
import pytest

from deploy.local import sample, sample_source
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import until

SHOWN_S_MAX = 60.0
LAST_LINE = "evt.play.>"


class Shown:
    """A system that was started with the sample, and what the sample printed."""

    def __init__(self, system: RunningSystem) -> None:
        self.system = system
        until(
            lambda: any(LAST_LINE in line for line in system.printed),
            SHOWN_S_MAX,
            lambda: "\n".join(system.printed) + system.said(),
        )
        self.lines = list(system.printed)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def place(self, pattern: str) -> int:
        """Return the number of the first line that matches. Fails when none does."""
        found = [number for number, line in enumerate(self.lines) if re.search(pattern, line)]
        assert found, f"no line {pattern!r} in:\n{self.text}"
        return found[0]


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    with running_system("--sample") as system:
        yield Shown(system)


def test_events_are_shown_in_the_order_in_which_they_happened(shown: Shown) -> None:
    places = [
        shown.place(pattern)
        for pattern in (
            "flow time-zones-by-country made: 16 steps",
            r"play +started",
            r"zones +started",
            "the data source is cold",
            r"countries +completed",
            r"form +completed",
            r"long +completed",
            r"short +completed +FILTERED",
            r"play +completed +DONE",
        )
    ]
    assert places == sorted(places)


def test_the_steps_that_fetch_run_side_by_side(shown: Shown) -> None:
    started = max(shown.place(r"zones +started"), shown.place(r"countries +started"))
    assert started < min(shown.place(r"zones +completed"), shown.place(r"countries +completed"))


def test_the_failed_fetch_was_tried_again_and_the_short_report_filtered_out(shown: Shown) -> None:
    shown.place(r"^16 steps in \d+ ms; retried: countries \(2 attempts\); filtered out: short$")


def test_the_result_is_what_the_tables_say(shown: Shown) -> None:
    zones = Counter(row[0] for row in _table("zone.tab"))
    names = {code: name for code, name, *_ in _table("iso3166.tab")}
    rows = re.findall(r"^ +(\d+)  (.+)$", shown.text, flags=re.MULTILINE)
    assert [int(count) for count, _ in rows] == sorted(zones.values(), reverse=True)[:10]
    by_name = {names[code]: count for code, count in zones.items()}
    assert [by_name[name] for _, name in rows] == [int(count) for count, _ in rows]
    several = sum(count > 1 for count in zones.values())
    shown.place(f"^{zones.total()} time zones in {len(names)} countries; {several} countries have several:$")


def test_output_that_no_terminal_reads_has_no_colours(shown: Shown) -> None:
    assert "\x1b" not in shown.text


async def test_the_sample_uses_the_flow_that_is_there(shown: Shown) -> None:
    said: list[str] = []
    system = shown.system
    async with sample_source.serving(said.append) as source:
        flow = await sample.show(system.base_url, system.email, system.password, source, said.append)
    assert said[0] == "flow time-zones-by-country is there: 16 steps"
    async with _api(system) as api:
        await _login(api, system)
        listed = await (await api.get("/api/flows?category=sample")).json()
    assert [listed["total"], listed["data"][0]["id"]] == [1, flow["id"]]


async def test_the_flow_can_be_run_again_as_the_last_lines_say(shown: Shown) -> None:
    found = re.search(r"'(http\S+/run\?wait=\d+)' -d '(.+)'", shown.text)
    assert found is not None, shown.text
    async with _api(shown.system) as api:
        await _login(api, shown.system)
        play = await (await api.post(found[1], data=found[2])).json()
    assert (play["state"], play["error"]) == ("DONE", None)


async def test_a_source_that_executors_may_not_reach_is_told_with_its_remedy(
    shared_system: RunningSystem,
) -> None:
    said: list[str] = []
    system = shared_system
    async with sample_source.serving(said.append) as source:
        with pytest.raises(sample.SampleFailed, match=r"not allowed: .*HEADRACE_OUTBOUND_ALLOW; add 127\."):
            await sample.show(system.base_url, system.email, system.password, source, said.append)
    assert any(re.match(r"play +failed", line) for line in said)


@pytest.mark.parametrize(
    ("colours", "expected"),
    [(True, "\x1b[31mplay         failed     broken\x1b[0m"), (False, "play         failed     broken")],
)
def test_a_failure_is_red_where_colours_are_wanted(*, colours: bool, expected: str) -> None:
    frame = {"type": "play:failed", "state": "FAIL", "error": "broken", "ref": "a"}
    assert sample.line(frame, colours=colours) == expected


def _table(name: str) -> list[list[str]]:
    text = (files("tzdata.zoneinfo") / name).read_text()
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def _api(system: RunningSystem) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(system.base_url, cookie_jar=aiohttp.CookieJar(unsafe=True))


async def _login(api: aiohttp.ClientSession, system: RunningSystem) -> None:
    answer = await api.post("/api/auth/login", json={"email": system.email, "password": system.password})
    assert answer.ok, await answer.text()
