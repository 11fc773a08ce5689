"""What the pages say of the code is so: subjects, types, fields, variables, limits, links."""

import importlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common import codec, config, subjects, topology
from tests.docs import pages

BUS, OPERATIONS, ARCHITECTURE = "docs/bus.md", "docs/operations.md", "docs/architecture.md"
SCHEDULE = subjects.ScheduleKey("<company>", "<id>")
# Each subject as the code spells it, with the words of the page for its parts.
KEY: Any = subjects.PlayKey("<shard>", "<company>", "<flow>", "<play>")  # type: ignore[arg-type]
LANE: Any = subjects.LaneKey("<shard>", "<company>", "<flow>")  # type: ignore[arg-type]
SUBJECTS = {
    KEY.command("<verb>"),
    KEY.event("<STATE>"),
    KEY.timer,
    LANE.step.removesuffix("step") + "<step or whole>",
    KEY.live[:-1] + "<STATE>",
    subjects.definition("<noun>", "<company>", "<id>"),
    subjects.claim("<company>", "<kind>", "<name>"),
    subjects.session("<digest>"),
    subjects.live_definition("<noun>"),
    KEY.nudge,
    f"{subjects.PROJECTED}.<stream>",
    subjects.command("<noun>"),
    subjects.query("<noun>"),
    SCHEDULE.fire,
    SCHEDULE.events,
    SCHEDULE.timer,
    f"live{SCHEDULE.events.removeprefix('evt')}",
    subjects.kv("<company>", "<scope>", "<scopeKey>", "<id>"),
    subjects.requests("<company>", "<channel>"),
    subjects.key_use("<company>", "<key>"),
    subjects.payload_chunks("<company>", "<digest>").replace("*", "<n>"),
}
PREFIXES = ("cmd.", "evt.", "tmr.", "live.", "ctl.", "qry.")
LIMIT = re.compile(r"`([A-Z][A-Z0-9_]+)`")


def test_the_table_of_subjects_is_what_the_code_spells() -> None:
    told = {pages.words(row[0])[0] for row in pages.rows(pages.section(BUS, "Subjects"))}
    assert told == SUBJECTS


def test_every_subject_on_a_page_is_one_of_the_table() -> None:
    told = re.compile(rf"(?<![\w/.])(?:{'|'.join(map(re.escape, PREFIXES))})[\w<>.*]*[\w<>*]")
    unknown = [
        f"{page}: {subject}"
        for page in pages.pages()
        for subject in told.findall(pages.read(page))
        if not any(fits(subject, known) for known in SUBJECTS)
    ]
    assert unknown == []


def fits(subject: str, known: str) -> bool:
    """Tell whether a subject or wildcard on a page can be this one of the table."""
    told, spelled = subject.split("."), known.split(".")
    for n, token in enumerate(told):
        if token == ">" or n >= len(spelled) or spelled[n] == ">":
            return n <= len(spelled)
        if token != "*" and not spelled[n].startswith("<") and token != spelled[n]:
            return False
    return True


def test_the_catalogue_lists_every_type_with_its_fields() -> None:
    told = {pages.words(row[0])[0]: set(pages.words(row[2])) for row in catalogue()}
    fields = {
        name: {field.encode_name for field in msgspec.structs.fields(kind)} - {"at", "payloads"}
        for name, kind in codec.TYPES.items()
    }
    assert told == fields


def test_every_type_on_a_page_exists() -> None:
    # The page on versions speaks of a next one as `….v2`, which is no name.
    named = {
        name for page in pages.pages() for name in re.findall(r"headrace\.[a-z.-]+\.v\d+", pages.read(page))
    }
    assert named - set(codec.TYPES) == set()


def test_the_commit_on_the_page_is_one_that_the_codec_reads() -> None:
    (block,) = [block for block in pages.blocks(BUS) if block.language == "json"]
    commit = codec.decode_commit(block.text.encode(), sequence=1)
    assert [type(event).__name__ for event in commit.events] == [
        "PlayStarted",
        "LayerCompleted",
        "PlayCompleted",
    ]
    context = codec.Context(
        source=commit.source,
        subject=commit.subject,
        correlation_id=commit.correlation_id,
        causation_id=commit.causation_id,
        traceparent=commit.traceparent,
    )
    again = codec.encode_commit(commit.events, commit_id=commit.id, context=context)
    assert msgspec.json.decode(again) == msgspec.json.decode(block.text)


def test_the_table_of_streams_is_the_topology() -> None:
    told = {row[0].strip("`"): set(pages.words(row[1])) for row in pages.rows(pages.section(BUS, "Streams"))}
    table = topology.streams(config.Config())
    made = {stream["name"].replace("_0", "_<shard>"): set(stream["subjects"]) for stream in table}
    assert told == {name: {subject.replace(".0.", ".<shard>.") for subject in made[name]} for name in made}


def test_every_variable_of_the_configuration_is_told_and_no_other() -> None:
    rows = pages.rows(pages.section(OPERATIONS, "Environment"))
    told = {pages.words(row[0])[0]: (row[1], set(pages.words(row[2]))) for row in rows}
    fields = msgspec.structs.fields(config.Config)
    assert set(told) == {f"HEADRACE_{field.name.upper()}" for field in fields}
    for field in fields:
        default, aliases = told[f"HEADRACE_{field.name.upper()}"]
        assert default.strip("`") == shown(field.default), field.name
        assert set(config.ALIASES.get(f"HEADRACE_{field.name.upper()}", ())) <= aliases, field.name


def shown(default: object) -> str:
    """Return a default as the table shows it."""
    if isinstance(default, bool):
        return "1" if default else "0"
    return f"{default:g}" if isinstance(default, float) else str(default) or "—"


@pytest.mark.parametrize(
    ("page", "folder"),
    [("docs/api.md", "services/gateway/routes"), ("docs/flow-like.md", "services/gateway/flow_like")],
)
def test_every_endpoint_is_told_and_no_other(page: str, folder: str) -> None:
    told = {pages.words(row[0])[0]: row[1] for row in pages.rows(pages.section(page, "All endpoints"))}
    spelled = re.compile(r'Route\(\s*"(\w+)",\s*"([^"]+)",\s*[\w.]+,\s*(None|"\w+")')
    sources = [path.read_text() for path in (pages.ROOT / folder).glob("*.py")]
    served = {f"{method} {path}": who for text in sources for method, path, who in spelled.findall(text)}
    if page == "docs/api.md":
        # The socket checks by itself, for it must refuse before the upgrade.
        served["GET /api/ws"] = '"read"'
    assert told == {endpoint: who.replace("None", "—").strip('"') for endpoint, who in served.items()}


def test_every_metric_is_told_and_no_other() -> None:
    told = {pages.words(row[0])[0] for row in pages.rows(pages.section(OPERATIONS, "Metrics"))}
    sources = [path.read_text() for top in ("libs", "services") for path in (pages.ROOT / top).rglob("*.py")]
    kept = {
        name
        for text in sources
        for name in re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(headrace_\w+)"', text)
    }
    assert len(kept) > 10
    assert told == kept


def test_every_limit_has_the_value_that_is_told() -> None:
    told = {
        (pages.words(place)[0], name): number(value)
        for place, names, value, *_ in pages.rows(pages.section(ARCHITECTURE, "Limits"))
        for name in LIMIT.findall(names)
    }
    there = {
        (place, name): getattr(
            importlib.import_module(place.removesuffix(".py").replace("/", ".")), name, None
        )
        for place, name in told
    }
    assert told == there


def number(text: str) -> float:
    """Return the number that a cell begins with: `1,000`, `0.05 s` or `8 MiB`."""
    found = re.match(r"([\d.,]+)(?: (KiB|MiB))?", text)
    assert found is not None, text
    return float(found[1].replace(",", "")) * {"KiB": 2**10, "MiB": 2**20}.get(found[2], 1)


@pytest.mark.parametrize("page", pages.pages())
def test_every_link_leads_to_a_page_and_its_heading(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", pages.prose(page))
    assert [link for link in links if "://" not in link and not leads_somewhere(page, link)] == []


def leads_somewhere(page: str, link: str) -> bool:
    """Tell whether a link's page and heading exist."""
    target, _, anchor = link.partition("#")
    path = ((pages.ROOT / page).parent / target if target else pages.ROOT / page).resolve()
    if not path.exists() or not anchor:
        return path.exists()
    return anchor in pages.anchors(path.relative_to(pages.ROOT).as_posix())


@pytest.mark.parametrize("page", pages.pages())
def test_every_file_that_is_named_exists(page: str) -> None:
    folders = ("libs/", "services/", "deploy/", "tests/", "docs/")
    named = [word for word in pages.words(pages.prose(page)) if word.startswith(folders) and " " not in word]
    assert [name for name in named if not (pages.ROOT / name.partition(":")[0]).exists()] == []


def test_every_decision_has_the_form_of_one() -> None:
    decisions = sorted((pages.ROOT / "docs/adr").glob("[0-9]*.md"))
    assert decisions
    for path in decisions:
        text = path.read_text()
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], path.name
        assert all(f"| {word} |" in text for word in ("date", "status", "updates")), path.name
        assert len(text.splitlines()) <= 60, path.name


def catalogue() -> list[list[str]]:
    """Return the rows of all tables of the event catalogue."""
    return pages.rows(pages.section(BUS, "Event catalogue"))


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(Path(pages.ROOT / "README.md").read_text().splitlines()) <= 250
