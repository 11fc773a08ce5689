"""What the contract (flow8) states of expressions: section 7, many cases in each play."""

import re

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.steps import var


async def layers_of(api: Api, *steps: Json, args: Json = None) -> dict[str, Json]:
    """Run these steps as a flow and return its layers by ref."""
    flow = await api.create_flow("Stated", *steps)
    play = await api.run(flow["id"], args, wait=60)
    return await api.layers_of(play["playId"])


# ── 7: expressions ──────────────────────────────────────────────────────────────────────────────────

GIVEN = {
    "n": 5, "f": 2.0, "text": "Hello World", "num": "42", "t": True, "none": None, "list": [1, "b", {"k": "v"}],
    "map": {"k": 1, "x-y": 2, "a b": 3, "deep": {"er": [[7]]}}, "date": "2024-02-29T13:04:05.123456Z",
    "late": "2006-01-02T15:04:05-07:00",
}  # fmt: skip
XML = '`<o xmlns:a="urn:a"><i sku="1">Ink</i><i sku="2">Pen</i><a:n>3</a:n></o>`'
VALUES: dict[str, dict[str, Json]] = {
    "paths": {
        "{{ $prev.args.n }}": 5,
        "{{$prev.args.n}}": 5,
        "{{ $prev.input.n }}": 5,
        "{{ $prev.args.list[2].k }}": "v",
        "{{ $prev.args.list.2.k }}": "v",
        "{{ $prev.args.map.deep.er[0][0] }}": 7,
        "{{ $prev.args.map.x-y }}": 2,
        '{{ $prev.args.map["a b"] }}': 3,
        "{{ $prev.args.map['a b'] }}": 3,
        "{{ $prev['args'].n }}": 5,
        "{{ ($prev.args.map).k }}": 1,
        "{{ (index $prev.args.list 2).k }}": "v",
        "{{ $prev.step.out }}": "given",
    },
    "nothing there": {
        "{{ $prev.args.none }}": None,
        "{{ $prev.args.nobody }}": None,
        "{{ $prev.args.nobody.at[3].all }}": None,
        "{{ $prev.args.text.length }}": None,
        "{{ $prev.args.list[9] }}": None,
        "{{ $prev.nobody }}": None,
        "{{ $prev.nobody.state }}": None,
        "{{ $prev.later.out }}": None,
        "<{{ $prev.nobody.field }}{{ $prev.args.none }}>": "<>",
    },
    "types": {
        "{{ $prev.args.t }}": True,
        "{{ $prev.args.map.deep }}": {"er": [[7]]},
        " {{ $prev.args.t }}": " true",
        "{{ $prev.args.n }}{{ $prev.args.t }}": "5true",
        "{{ $prev.args.f }} {{ 0.5 }}": "2 0.5",
        "{{ $prev.args.list }}!": '[1,"b",{"k":"v"}]!',
        "{{ $prev.args.num }}": "42",
        "{{ 1e3 }}": 1000,
        "{{ null }}": None,
        "{{ `}}` }}": "}}",
        "no expression }}": "no expression }}",
    },
    "literals": {
        "{{ 'single' }}": "single",
        '{{ "double \\"\\u00e9\\n" }}': 'double "é\n',
        "{{ `raw \\d` }}": "raw \\d",
        "{{ 'it\\'s' }}": "it's",
        "{{ -12.5e1 }}": -125,
        "{{ false }}": False,
        "{{ nil }}": None,
    },
    "arithmetic": {
        "{{ add 1 2 3 }}": 6,
        '{{ add "41" 1 }}': 42,
        "{{ add $prev.args.none 1 }}": 1,
        "{{ sub $prev.args.none 1 }}": -1,
        '{{ sub "1.5" 1 }}': 0.5,
        "{{ mul 1.5 4 }}": 6,
        "{{ div 7 2 }}": 3.5,
        '{{ div "6" "3" }}': 2,
        "{{ mod 7 3 }}": 1,
        "{{ round 2.675 2 }}": 2.68,
        "{{ round 2.5 }}": 3,
        "{{ add (mul 2 (sub 5 (div 8 4))) 1 }}": 7,
    },
    "strings": {
        "{{ upper $prev.args.text }}": "HELLO WORLD",
        "{{ lower $prev.args.text }}": "hello world",
        "{{ trim '  x ' }}": "x",
        "{{ replace 'a-b-c' '-' '+' }}": "a+b+c",
        "{{ split 'a,b' ',' }}": ["a", "b"],
        "{{ join $prev.args.list '|' }}": '1|b|{"k":"v"}',
        "{{ contains $prev.args.text 'World' }}": True,
        "{{ contains $prev.args.list 'b' }}": True,
        "{{ contains $prev.args.map 'k' }}": True,
        "{{ hasPrefix $prev.args.text 'Hell' }}": True,
        "{{ hasSuffix $prev.args.text 'Hell' }}": False,
        "{{ len 'äöü' }}": 3,
        "{{ upper $prev.args.none }}": "",
        "{{ toJson $prev.args.map.deep }}": '{"er":[[7]]}',
        "{{ index $prev.args.map 'deep' 'er' 0 0 }}": 7,
    },
    "lists": {
        "{{ first $prev.args.list }}{{ last (list 1 2) }}": "12",
        "{{ sort (list 'b' 10 '9') }}": ["9", 10, "b"],
        "{{ pluck (list $prev.args.map) 'k' | sum }}": 1,
        "{{ keys $prev.args.map.deep }}": ["er"],
        "{{ dict 'n' $prev.args.n }}": {"n": 5},
        "{{ coalesce $prev.args.none '' 'x' }}": "x",
        "{{ regexFind $prev.args.text `W\\w+` }}": "World",
        "{{ max (list 3 8 5) }}": 8,
    },
    "logic": {
        '{{ eq 200 "200" }}': True,
        '{{ eq false "false" }}': True,
        "{{ eq $prev.args.none '' }}": True,
        "{{ ne 1 2 }}": True,
        "{{ neq 1 1.0 }}": False,
        '{{ gt "10" 9 }}': True,
        "{{ gte 2 2 }}": True,
        "{{ ge 'b' 'a' }}": True,
        "{{ lt $prev.args.none 1 }}": True,
        "{{ lte 3 2 }}": False,
        "{{ le 2 2 }}": True,
        "{{ and (gt $prev.args.n 1) $prev.args.t }}": True,
        "{{ or $prev.args.none 'other' }}": "other",
        "{{ or $prev.args.n (div 1 0) }}": 5,
        "{{ not $prev.args.none }}": True,
        "{{ default $prev.args.none 'x' }}": "x",
        "{{ default 0 'x' }}": 0,
        "{{ ternary $prev.args.t 'yes' (div 1 0) }}": "yes",
    },
    "pipes": {
        "{{ $prev.args.text | lower | replace 'world' 'you' | len }}": 9,
        "{{ 5 | sub 3 }}": 2,
        "{{ 5 | gt 3 }}": False,
        "{{ $prev.args.none | default 'x' | upper }}": "X",
        "{{ $date.addDays 1 '2024-02-28' | $date.format '02.01.2006' }}": "29.02.2024",
    },
    "dates": {
        "{{ $date.format '15:04 MST' $prev.args.date 'Europe/Berlin' }}": "14:04 CET",
        "{{ $date.addMonths 1 '2024-01-31' }}": "2024-02-29T00:00:00Z",
        "{{ $date.addHours -1 $prev.args.date }}": "2024-02-29T12:04:05Z",
        "{{ $date.unix '1970-01-02' }}": 86_400,
    },
    "encoding": {
        "{{ $q.urlencode 'a b/ä' }}": "a+b%2F%C3%A4",
        "{{ $q.base64 'ä' }}": "w6Q=",
        "{{ $q.jsonStringify $prev.args.list }}": '[1,"b",{"k":"v"}]',
        '{{ ($q.jsonParse `{"a":[1,2]}`).a[1] }}': 2,
        "{{ $q.base64 $prev.args.none }}": "",
    },
    "xpath": {
        f"{{{{ xpath {XML} '//i' }}}}": ["Ink", "Pen"],
        f"{{{{ xpath {XML} '//i/@sku' }}}}": ["1", "2"],
        f"{{{{ xpathFirst {XML} '//i[@sku=2]' }}}}": "Pen",
        f"{{{{ xpathFirst {XML} '//nobody' }}}}": None,
        f"{{{{ xpath {XML} 'count(//i)' }}}}": 2,
        f"{{{{ xpath {XML} 'boolean(//i)' }}}}": True,
        f"{{{{ xpath {XML} 'sum(//i/@sku)' }}}}": 3,
        f"{{{{ xpath {XML} 'concat(//i[1], substring(//i[2], 2))' }}}}": "Inken",
        f"{{{{ xpath {XML} '//i[starts-with(@sku, 2)]' }}}}": ["Pen"],
        f"{{{{ xpath {XML} '//i[last()]/preceding-sibling::i' }}}}": ["Ink"],
        f"{{{{ xpath {XML} 'normalize-space(//i[1])' | lower }}}}": "ink",
        f"{{{{ xpath {XML} 'string(//a:n)' }}}}": "3",
        "{{ xpathFirst '<html><p>One<p>Two' '//p[2]' }}": "Two",
    },
}


@pytest.mark.parametrize("topic", VALUES)
async def test_7_what_expressions_are_worth(api: Api, topic: str) -> None:
    expressions = {f"v{n}": text for n, text in enumerate(VALUES[topic])}
    layers = await layers_of(
        api, var("step", out="given"), var("a", **expressions), var("later", out=1), args=GIVEN
    )
    assert layers["a"]["state"] == "DONE", layers["a"]["error"]
    made = {text: layers["a"]["out"][name] for name, text in expressions.items()}
    assert made == VALUES[topic]
    assert [type(value) for value in made.values()] == [type(value) for value in VALUES[topic].values()]


# Each token of Go's reference time, at 2024-02-29T13:04:05.123456Z.
LAYOUTS = {
    "2006 06": "2024 24", "January Jan 01 1": "February Feb 02 2", "Monday Mon": "Thursday Thu", "02 2 _2": "29 29 29",
    "002 __2": "060  60", "15 03 3": "13 01 1", "04 4": "04 4", "05 5": "05 5", "PM pm": "PM pm", "MST": "UTC",
    "Z07:00 Z0700 Z07": "Z Z Z", "-07:00 -0700 -07": "+00:00 +0000 +00", "05.000 05,000000": "05.123 05,123456",
    "05.999999999": "05.123456", "2006-01-02T15:04:05Z07:00": "2024-02-29T13:04:05Z",
    "Mon, 02 Jan 2006 15:04:05 MST": "Thu, 29 Feb 2024 13:04:05 UTC", "3:04PM on Month": "1:04PM on Month",
}  # fmt: skip


async def test_7_dates_are_written_in_every_token_of_a_layout(api: Api) -> None:
    shown = {
        f"v{n}": f'{{{{ $date.format "{layout}" $prev.args.date }}}}' for n, layout in enumerate(LAYOUTS)
    }
    layers = await layers_of(api, var("a", **shown), args=GIVEN)
    assert list(layers["a"]["out"].values()) == list(LAYOUTS.values())


async def test_7_dates_are_of_one_moment_and_in_utc(api: Api) -> None:
    step = var(
        "a",
        now="{{ $date.now }}",
        same="{{ $now }}",
        unix="{{ $date.unix $date.now }}",
        seconds="{{ $date.unix }}",
        shown='{{ $date.format "2006-01-02T15:04:05Z07:00" }}',
        later="{{ $date.unix ($date.addDays 2) | sub ($date.unix) }}",
        early="{{ $date.addDays -1 '2024-03-01' }}",
        zone="{{ $date.format '2006-01-02 15:04 MST' $prev.args.late }}",
    )
    out = (await layers_of(api, step, args=GIVEN))["a"]["out"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", out["now"])
    assert out["now"] == out["same"] == out["shown"]
    assert (out["unix"], out["later"]) == (out["seconds"], 172_800)
    assert (out["early"], out["zone"]) == ("2024-02-29T00:00:00Z", "2006-01-02 22:04 UTC")


async def test_7_chance_has_its_forms_and_differs_by_place(api: Api) -> None:
    forms = {
        "$rand.uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        "$rand.cuid": "[a-z][a-z0-9]{23}",
        "$rand.int 10 99": "[1-9][0-9]",
        "$rand.string 40": "[A-Za-z0-9]{40}",
    }
    shown = {f"v{n}": f"{{{{ {call} }}}}" for n, call in enumerate(forms)}
    step = {**var("a", **shown, again="{{ $rand.uuid }}"), "retry": {"count": 1}}
    layers = await layers_of(api, step, {**step, "ref": "b"})
    first, second = layers["a"]["out"], layers["b"]["out"]
    for name, form in zip(shown, forms.values(), strict=True):
        assert re.fullmatch(form, str(first[name])), name
    assert len({first["v0"], first["again"], second["v0"], second["again"]}) == 4


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("{{ div 1 0 }}", "division by zero, at position 3 in values.it"),
        ('x{{ add 1 (mul "a" 2) }}', "mul needs numbers, not a string that is no number, at position 11"),
        ("{{ add $prev.args.map 1 }}", "add needs numbers, not an object"),
        ("{{ $date.format '2006' 'soon' }}", "a date is an RFC 3339 text or unix seconds"),
        ("{{ $date.addDays 1e9 }}", "not in the calendar"),
        ("{{ $rand.int 3 1 }}", "the smallest number is above the largest"),
        ("{{ $rand.string 4097 }}", "0 to 4096 characters"),
        ("{{ $q.jsonParse '{' }}", "not valid JSON"),
        ("{{ join 'text' ',' }}", "join needs a list, not a string"),
        ("{{ xpath '<a/>' '//[' }}", "XPath"),
        ("{{ add 9223372036854775807 1 }}", "outside the 64-bit integers"),
        ("{{ len (replace $prev.args.long 'x' $prev.args.long) }}", "more work than one evaluation may do"),
        ("{{ $prev.args.long }}{{ $prev.args.long }}" * 200, "larger than a result may be"),
    ],
)
async def test_7_an_expression_without_a_value_says_why_and_where(
    api: Api, expression: str, error: str
) -> None:
    layers = await layers_of(
        api, {**var("a", it=expression), "retry": {"count": 2}}, args={**GIVEN, "long": "x" * 60_000}
    )
    layer = layers["a"]
    assert (layer["state"], layer["errorCode"], layer["attempts"]) == ("FAIL", "EXPRESSION_ERROR", 1)
    assert error in layer["error"]


@pytest.mark.parametrize(
    ("expression", "error", "position"),
    [
        ("{{ nothing 1 }}", "there is no function nothing", 3),
        ("{{ uper 'x' }}", "did you mean upper?", 3),
        ("{{ $date.tomorrow }}", "$date has no member tomorrow", 8),
        ("{{ add 1 }}", "add takes at least 2 arguments, not 1", 3),
        ("{{ upper 1 2 }}", "upper takes 1 argument, not 2", 3),
        ("{{ (add 1 2 }}", "the parenthesis is not closed", 3),
        ("{{ $prev.args.n", "not closed with }}", 0),
        ('{{ "open }}', "the string is not closed", 3),
        ("{{ }}", "an expression is missing", 3),
        ("{{ $prev.args.n + 1 }}", "there is no operator +; write (add a b)", 16),
        ("{{ $json.n }}", "did you mean $prev.args.<name>?", 3),
        ("{{ .n }}", "read a step with $prev.<ref>", 3),
        ("{{ $prev.args.list[-1] }}", "in brackets stands a number from 0", 19),
        ("{{ " + "(" * 65 + "1" + ")" * 65 + " }}", "at most 64 deep", 67),
        ("{{ `" + "x" * 65_600 + "` 1 }}", "at most 65536 characters", 2),
    ],
)
async def test_7_text_that_is_no_expression_says_what_is_wrong_and_where(
    api: Api, expression: str, error: str, position: int
) -> None:
    flow = await api.create_flow("No expression")
    step = {"name": "a", **var("a", it=expression)}
    answer = await api.call("POST", f"/api/flows/{flow['id']}/layers", step)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert error in answer.json["message"]
    assert f"at position {position} in values.it of" in answer.json["message"]


async def test_7_steps_show_their_state_and_error_beside_their_output(api: Api) -> None:
    bad = {**var("bad", n="{{ div 1 0 }}"), "onError": "continue"}
    out = {"mine": "{{ $prev.own.state }}", "done": "{{ $prev.ok.state }}", "bad": "{{ $prev.bad.state }}"}
    why = {"why": "{{ $prev.bad.error }}", "none": "{{ $prev.ok.error }}", "whole": "{{ $prev.ok }}"}
    layers = await layers_of(api, bad, var("ok", n=1), var("own", state="mine"), var("see", **out, **why))
    assert layers["see"]["out"] == {
        "mine": "mine", "done": "DONE", "bad": "FAIL", "why": layers["bad"]["error"], "none": None,
        "whole": {"n": 1},
    }  # fmt: skip


async def test_7_expressions_stand_at_any_depth_but_not_in_keys(api: Api) -> None:
    deep = {"list": [{"{{ $prev.args.n }}": "{{ $prev.args.n }}"}, ["{{ add $prev.args.n 1 }}"]]}
    layers = await layers_of(api, var("a", deep=deep), args=GIVEN)
    assert layers["a"]["out"]["deep"] == {"list": [{"{{ $prev.args.n }}": 5}, [6]]}


async def test_7_text_from_outside_is_never_an_expression(api: Api) -> None:
    steps = var("a", it="{{ $prev.args.evil }}"), var("b", it="{{ $prev.a.it }}!")
    layers = await layers_of(api, *steps, args={"evil": "{{ $companyId }}"})
    assert layers["b"]["out"]["it"] == "{{ $companyId }}!"
