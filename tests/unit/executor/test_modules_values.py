"""Control flow, values, lists and tables (spec flow8 sections 17.1 and 17.2)."""

from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from libs.expressions.values import value_at
from services.executor.modules import log
from services.executor.modules.contract import Wait
from services.executor.modules.control import DELAY_MS_MAX
from tests.fixtures.modules import evaluated, failure


@pytest.mark.parametrize("condition", [True, "true", 1, -0.5, "no", "0.0", [0], {"a": 1}])
def test_a_router_takes_a_true_condition(condition: Any) -> None:
    assert evaluated("router", {"routes": [{"condition": condition, "label": "here"}]}) == {"route": "here"}


@pytest.mark.parametrize("condition", [False, "false", 0, 0.0, "0", "", None, [], {}])
def test_a_router_passes_a_false_condition(condition: Any) -> None:
    assert evaluated("router", {"routes": [{"condition": condition, "label": "here"}]}) == {"route": ""}


def test_a_router_takes_the_first_of_two_true_conditions() -> None:
    routes = [{"condition": "{{ gt $prev.args.n 1 }}", "label": "a"}, {"condition": "true", "label": "b"}]
    assert evaluated("router", {"routes": routes}, args={"n": 2}) == {"route": "a"}


@pytest.mark.parametrize(
    ("args", "items"),
    [
        ({"from": 1, "to": 6}, [1, 2, 3, 4, 5, 6]),
        ({"from": 3, "to": 1, "step": -1}, [3, 2, 1]),
        ({"from": 0, "to": 0.3, "step": 0.1}, [0, 0.1, 0.2, 0.3]),
        ({"from": 1, "to": 1}, [1]),
        ({"from": 1, "to": 9, "step": "4"}, [1, 5, 9]),
        ({"from": 5, "to": 1}, []),
    ],
)
def test_an_enumeration_includes_its_end(args: dict[str, Any], items: list[Any]) -> None:
    out = evaluated("enumeration", args)
    assert msgspec.json.encode(out) == msgspec.json.encode({"items": items, "count": len(items)})


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"from": 1, "to": 2, "step": 0}, "step must not be 0"),
        ({"from": 1, "to": 100_001}, "more than 100,000 items"),
        ({"from": 0, "to": 1e300, "step": 1e-300}, "more than 100,000 items"),
    ],
)
def test_an_enumeration_without_end_fails(args: dict[str, Any], reason: str) -> None:
    assert reason in failure("enumeration", args).message


def test_an_enumeration_of_the_largest_size_is_made() -> None:
    assert evaluated("enumeration", {"from": 1, "to": 100_000})["count"] == 100_000


def test_a_delay_is_a_wait_with_its_output() -> None:
    assert evaluated("delay", {"ms": "250"}) == Wait(250, {"ms": 250})


def test_a_delay_of_nothing_is_over_at_once() -> None:
    assert evaluated("delay", {"ms": 0}) == {"ms": 0}


@pytest.mark.parametrize("ms", [-1, DELAY_MS_MAX + 1, 0.5, "soon"])
def test_a_delay_that_cannot_be_waited_for_names_its_arg(ms: Any) -> None:
    assert "arg ms" in failure("delay", {"ms": ms}).message


def test_var_keeps_types() -> None:
    values = {"n": 1, "f": 1.5, "b": False, "o": {"a": [None]}}
    assert evaluated("var", {"values": values}) == values


def test_a_template_sees_its_data_and_the_outside() -> None:
    args = {
        "template": "{{ .name }} has {{ $prev.args.n }} at {{ $date.format `2006` }}",
        "data": {"name": "Ada"},
    }
    assert evaluated("template", args, args={"n": 3}) == {"result": "Ada has 3 at 2026"}


def test_a_template_cannot_be_written_by_what_is_put_into_it() -> None:
    args = {"template": "{{ .name }} {{ $prev.args.text }}", "data": {"name": "Ada", "secret": "s"}}
    assert evaluated("template", args, args={"text": "{{ .secret }}"}) == {"result": "Ada {{ .secret }}"}


def test_a_broken_template_fails_for_good() -> None:
    failed = failure("template", {"template": "{{ if .a }}", "data": {}})
    assert (failed.code, failed.final) == ("EXPRESSION_ERROR", True)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "NaN", "[" * 100_000])
def test_json_that_is_none_fails_for_good(text: str) -> None:
    assert failure("json-parse", {"input": text}).final


@pytest.mark.parametrize(("depth", "fits"), [(128, True), (129, False)])
def test_json_nests_as_deep_as_an_event_may(depth: int, fits: bool) -> None:
    text = '{"a":[' * (depth // 2) + "[" * (depth % 2) + "]" * (depth % 2) + "]}" * (depth // 2)
    if fits:
        assert evaluated("json-parse", {"input": text}) == {"result": msgspec.json.decode(text)}
    else:
        assert failure("json-parse", {"input": text}).message == "json-parse: input nests more than 128 deep"


def test_json_parse_leaves_a_value_that_is_no_text() -> None:
    assert evaluated("json-parse", {"input": {"a": 1}}) == {"result": {"a": 1}}


def test_json_stringify_indents() -> None:
    assert evaluated("json-stringify", {"input": {"a": [1]}, "indent": 2}) == {
        "result": '{\n  "a": [\n    1\n  ]\n}'
    }


@pytest.mark.parametrize(
    "condition", ["{{ gt .n 1 }}", "gt .n 1", "{{ gt .n $prev.args.least }}", "{{if gt .n 1}}1{{end}}"]
)
def test_array_filter_takes_an_expression_or_a_template(condition: str) -> None:
    out = evaluated(
        "array-filter", {"items": [{"n": 1}, {"n": 2}], "condition": condition}, args={"least": 1}
    )
    assert out == {"items": [{"n": 2}], "count": 1}


def test_array_filter_with_a_condition_without_expression_keeps_all_or_none() -> None:
    assert evaluated("array-filter", {"items": [1, 2], "condition": False}) == {"items": [], "count": 0}


@pytest.mark.parametrize(
    ("expression", "items"),
    [
        (".n", [1, 2]),
        ("{{ .n }}", [1, 2]),
        ("no {{ .n }}", ["no 1", "no 2"]),
        ("{{ .n }}{{ .n }}", ["11", "22"]),
        (
            {"double": "{{ mul .n 2 }}", "all": ["{{ . }}", "n"]},
            [{"double": 2, "all": [{"n": 1}, "n"]}, {"double": 4, "all": [{"n": 2}, "n"]}],
        ),
        (7, [7, 7]),
    ],
)
def test_array_map_takes_an_expression_a_template_or_a_shape(expression: Any, items: list[Any]) -> None:
    out = evaluated("array-map", {"items": [{"n": 1}, {"n": 2}], "expression": expression})
    assert out == {"items": items, "count": 2}


def test_array_map_draws_chance_for_each_element_and_the_same_again() -> None:
    args = {"items": [1, 2, 3], "expression": "{{ print ($rand.string 20) . }}"}
    first = evaluated("array-map", args)["items"]
    assert len({text[:20] for text in first}) == 3
    assert evaluated("array-map", args)["items"] == first


def test_array_map_that_grows_too_large_fails() -> None:
    args = {"items": [0] * 20, "expression": "{{ $prev.args.big }}{{ . }}"}
    with pytest.raises(Exception, match="array-map: the result is larger"):
        evaluated("array-map", args, args={"big": "x" * 1_000_000})


@pytest.mark.parametrize("app_id", ["array-filter", "array-map"])
def test_an_expression_that_cannot_be_evaluated_fails_for_good(app_id: str) -> None:
    name = "condition" if app_id == "array-filter" else "expression"
    failed = failure(app_id, {"items": [{"n": 0}], name: "{{ div 1 .n }}"})
    assert (failed.code, failed.final) == ("EXPRESSION_ERROR", True)


@pytest.mark.parametrize(
    ("app_id", "args"),
    [
        ("template", {"template": "{{ $kv.get .name }}", "data": {"name": "k"}}),
        ("array-map", {"items": [{"name": "k"}], "expression": "{{ $kv.get .name }}"}),
    ],
)
def test_a_kv_key_that_depends_on_the_data_fails_for_good(app_id: str, args: dict[str, Any]) -> None:
    failed = failure(app_id, args)
    assert (failed.code, failed.final) == ("EXPRESSION_ERROR", True)
    assert failed.message.startswith("the KV key 'k' depends on the module's own data")


def test_items_may_be_json_text() -> None:
    assert evaluated("array-map", {"items": "[1, 2]", "expression": "add . 1"})["items"] == [2, 3]


def test_array_sort_puts_numbers_before_text_and_nothing_last() -> None:
    out = evaluated("array-sort", {"items": ["b", None, 10, "9", "a", 2.5]})
    assert out["items"] == [2.5, "9", 10, "a", "b", None]


def test_array_sort_is_stable_and_falls_with_nothing_last() -> None:
    items = [{"k": {"v": 1}, "i": 0}, {"k": {"v": 2}, "i": 1}, {"k": {"v": 1}, "i": 2}, {"i": 3}]
    out = evaluated("array-sort", {"items": items, "by": "k.v", "order": "desc"})
    assert [item["i"] for item in out["items"]] == [1, 0, 2, 3]


def test_array_unique_goes_by_a_field() -> None:
    items = [{"a": {"x": 1, "y": 2}, "n": 1}, {"a": {"y": 2.0, "x": 1}, "n": 2}, {"a": "1", "n": 3}]
    assert [item["n"] for item in evaluated("array-unique", {"items": items, "by": "a"})["items"]] == [1, 3]


@pytest.mark.parametrize(
    ("path", "value"), [("a.1.b", 2), ("a.9", None), ("a.x", None), ("b.c", None), ("", {"a": [0, {"b": 2}]})]
)
def test_a_path_leads_to_a_value_or_to_nothing(path: str, value: Any) -> None:
    assert value_at({"a": [0, {"b": 2}]}, path) == value


def test_csv_without_header_gives_lists() -> None:
    out = evaluated("csv-parse", {"input": "a;b\n\n1;2\n", "delimiter": ";", "header": False})
    assert out == {"rows": [["a", "b"], ["1", "2"]], "columns": [], "count": 2}


def test_a_missing_cell_is_null_and_a_byte_order_mark_is_left_out() -> None:
    assert evaluated("csv-parse", {"input": "\ufeffa,b\n1\n"})["rows"] == [{"a": "1", "b": None}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2,3", "row 1 has 3 cells, the header 2"),
        ("a,a\n1,2", "two columns have the same name"),
        ('a\n"x', "behind row 1: unexpected end of data"),
        ("a\n" * 100_001, "more than 100,000 rows"),
    ],
)
def test_csv_that_would_lose_something_fails(text: str, reason: str) -> None:
    assert reason in failure("csv-parse", {"input": text}).message


def test_csv_of_nothing_is_nothing() -> None:
    assert evaluated("csv-parse", {"input": ""}) == {"rows": [], "columns": [], "count": 0}


def test_csv_comes_back_as_it_was_written() -> None:
    rows = [{"a": 'say "hi"', "b": "1,5"}, {"a": "two\r\nlines", "b": ""}]
    assert (
        evaluated("csv-parse", {"input": evaluated("csv-generate", {"rows": rows})["result"]})["rows"] == rows
    )


def test_csv_writes_the_columns_that_are_named_and_lists_as_they_are() -> None:
    args = {"rows": [{"a": 1, "b": True}, ["x", {"y": 1}]], "columns": ["b"], "delimiter": "\t"}
    assert evaluated("csv-generate", args)["result"] == 'b\r\ntrue\r\nx\t"{""y"":1}"\r\n'


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error"])
def test_a_log_line_names_its_play(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setattr(log, "log", structlog.get_logger())
    with capture_logs() as lines:
        evaluated("log", {"message": 42, "level": level})
    assert [{**line, "log_level": ""} for line in lines] == [
        {
            "event": "flow_log",
            "log_level": "",
            "message": "42",
            "company_id": "company-1",
            "flow_id": "flow-1",
            "play_id": "play-1",
            "ref": "step",
        }
    ]
