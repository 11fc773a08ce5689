"""Every example of docs/expressions.md gives what the page says, and every function has one."""

import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.expressions import NeedsValue, Scope, StepView, compile_value, render_go_template
from libs.expressions.functions import FUNCTIONS
from libs.expressions.objects import MEMBERS

PAGE = Path(__file__).parents[3] / "docs" / "expressions.md"
TEXT = PAGE.read_text(encoding="utf-8")


def examples(language: str) -> list[tuple[str, Any]]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line.rpartition(" => ") for block in blocks for line in block.splitlines()]
    return [(text.rstrip(), msgspec.json.decode(value)) for text, _, value in lines]


def the_play() -> dict[str, Any]:
    found = re.search(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found
    steps = msgspec.json.decode(found[1])
    return {ref: step if ref == "args" else msgspec.convert(step, StepView) for ref, step in steps.items()}


def value_of(text: str) -> Any:
    known = {"limit": 100, "smtp": {"host": "mail"}}
    kv: dict[tuple[Any, ...], Any] = {}
    scope = Scope(
        prev=the_play(),
        flow_id="flow-1",
        play_id="play-1",
        company_id="acme",
        now=datetime(2025, 1, 31, 9, 5, 7, tzinfo=UTC),
        seed="docs",
        kv=kv,
    )
    try:
        return compile_value(text).evaluate(scope)
    except NeedsValue as needs:
        kv[needs.key] = known.get(needs.key[3])
        return compile_value(text).evaluate(scope)


@pytest.mark.parametrize(("text", "value"), examples("example"))
def test_an_example_gives_what_the_page_says(text: str, value: Any) -> None:
    made = value_of(text)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(("template", "text"), examples("template"))
def test_a_template_renders_what_the_page_says(template: str, text: str) -> None:
    assert render_go_template(template, the_play()["args"]) == text


def test_every_function_and_member_has_an_example() -> None:
    written: defaultdict[str, int] = defaultdict(int)
    for text, _ in examples("example"):
        for word in re.findall(r"\$?[A-Za-z]+(?:\.[A-Za-z0-9]+)?", text):
            written[word] += 1
    assert [name for name in (*FUNCTIONS, *MEMBERS) if not written[name]] == []
