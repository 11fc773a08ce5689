"""What steps read of secret KV entries stands in no event, whatever was done to it (spec flow8 section 13, D14)."""

import base64
from collections.abc import AsyncIterator

import pytest

from libs.common import subjects
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of
from tests.e2e.origin import Origin
from tests.fixtures.system import RunningSystem

SECRET = "sk-live&Ärger/4711"
TRACES = (
    SECRET,
    SECRET.upper(),
    SECRET[::-1],
    base64.b64encode(SECRET.encode()).decode(),
    "sk-live",
    "SK-LIVE",
)


@pytest.fixture
async def api(shared_system: RunningSystem) -> AsyncIterator[Api]:
    async with Api.logged_in(shared_system) as api:
        for key, value in {"token": SECRET, "pin": 42}.items():
            entry = {"key": key, "value": value, "secret": True}
            assert (await api.call("POST", "/api/kv", entry)).status in (200, 201)
        yield api


def step(app_id: str, ref: str = "a", **args: Json) -> Json:
    return {"ref": ref, "appId": app_id, "args": args, "onError": "continue"}


async def ended(api: Api, *steps: Json, args: Json = None) -> tuple[Json, dict[str, Json]]:
    flow = await api.create_flow("Secrets", *steps)
    play = await api.run(flow["id"], args, wait=60)
    return play, await api.layers_of(play["playId"])


async def history_of(system: RunningSystem, play_id: str) -> str:
    """Return all that the log holds of a play."""
    async with bus_of(system) as bus:
        stored = await bus.load(subjects.plays_stream(0), f"evt.play.*.*.*.{play_id}.*")
    return b"".join(message.data for message in stored).decode()


@pytest.mark.parametrize(
    "expression",
    [
        "{{ $kv.token }}",
        "{{ upper $kv.token }}",
        "{{ $q.base64 $kv.token }}",
        "{{ len $kv.token }}",
        "{{ add $kv.pin 1 }}",
        "{{ slice $kv.token 0 2 }}",
        "{{ split $kv.token '/' | join '-' }}",
        "{{ $kv.get $prev.args.key }}",
        "{{ ternary (contains $kv.token 'x') 'a' 'b' }}",
    ],
)
async def test_13_no_arg_that_an_output_shows_reads_a_secret(
    api: Api, shared_system: RunningSystem, expression: str
) -> None:
    shown: dict[str, Json] = {
        "var": {"values": {"deep": [expression]}},
        "template": {"template": "{{ .x }}", "data": {"x": expression}},
        "base64_encode": {"input": expression},
        "json_stringify": {"input": {"x": expression}},
        "regex": {"input": expression, "pattern": "."},
        "array_map": {"items": [1], "expression": expression},
        "array_sort": {"items": [expression]},
        "csv_generate": {"rows": [[expression]]},
        "jwt_sign": {"claims": {"x": expression}, "key": "a secret of thirty-two characters"},
        "router": {"routes": [{"condition": "true", "label": expression}]},
        "kv_append": {"key": "list", "value": expression},
        "subflow": {"flowId": "any", "args": {"x": expression}},
        "storage_write": {"path": f"a/{expression}", "content": "x"},
        "storage_move": {"from": "a", "to": expression},
    }
    steps = [step(name.replace("_", "-"), name, **args) for name, args in shown.items()]
    play, layers = await ended(api, *steps, args={"key": "token"})
    assert {ref: layer["errorCode"] for ref, layer in layers.items()} == dict.fromkeys(shown, "SECRET_SHOWN")
    named = {ref: layer["error"].split("arg ")[1].split()[0] for ref, layer in layers.items()}
    assert named["subflow"] == "args"
    assert (named["var"], named["router"]) == ("values", "routes")
    told = await history_of(shared_system, play["playId"]) + str(layers)
    assert [trace for trace in TRACES if trace in told] == []


async def test_13_a_secret_is_read_where_it_is_used(
    api: Api, shared_system: RunningSystem, origin: Origin
) -> None:
    basic = {"user": "ada", "pass": "{{ $kv.token }}"}
    url = f"{origin.url}/echo"
    steps = [
        step("hmac", "sign", input="text", key="{{ upper $kv.token }}"),
        step("jwt-sign", "token", claims={"iat": 1}, key="{{ $kv.token }}{{ $kv.token }}"),
        step(
            "router", "route", routes=[{"condition": "{{ eq $prev.args.given $kv.token }}", "label": "same"}]
        ),
        step("array-filter", "known", items=["x", SECRET[:3]], condition="{{ hasPrefix $kv.token . }}"),
        step("hash", "print", input="{{ $kv.token }}"),
        step("aes-gcm-encrypt", "seal", input="{{ $kv.token }}", key="AAECAwQFBgcICQoLDA0ODw=="),
        step("curl", "bearer", url=url, bearerToken="{{ $q.urlencode $kv.token }}"),
        step("curl", "basic", url=url, basicAuth=basic, query={"k": "{{ $kv.token }}"}),
        step("curl", "body", url=url, method="POST", body={"k": "{{ $kv.token }}", "pin": "{{ $kv.pin }}"}),
    ]
    play, layers = await ended(api, *steps, args={"given": "other"})
    assert {ref: layer["state"] for ref, layer in layers.items()} == dict.fromkeys(layers, "DONE"), layers
    assert (layers["route"]["out"], layers["known"]["out"]["count"]) == ({"route": ""}, 1)
    # What a server sends back is masked, as it is and encoded; it had come in the clear.
    came = {ref: layers[ref]["out"]["body"] for ref in ("bearer", "basic", "body")}
    assert came["bearer"]["headers"]["authorization"] == "Bearer ***"
    assert came["basic"]["headers"]["authorization"].startswith("Basic ")
    assert came["basic"]["query"] == [["k", "***"]]
    assert came["body"]["body"] == '{"k":"***","pin":42}'
    told = await history_of(shared_system, play["playId"]) + str(layers)
    assert [trace for trace in (*TRACES[:4], SECRET[4:]) if trace in told] == []


async def test_13_secrets_read_as_stars_in_log_lines(api: Api, shared_system: RunningSystem) -> None:
    steps = [
        step("log", "plain", message="key {{ $kv.token }}, pin {{ $kv.pin }}"),
        step("log", "changed", message="key {{ $kv.token | upper | replace 'LIVE' 'DEAD' }}"),
    ]
    _, layers = await ended(api, *steps)
    assert layers["plain"]["out"]["message"] == "key ***, pin ***"
    assert layers["changed"]["out"]["message"].startswith("key ")
    lines = "".join(shared_system.logs(name) for name in shared_system.names()) + str(layers)
    assert [trace for trace in (*TRACES, "SK-DEAD") if trace in lines] == []


async def test_13_errors_quote_nothing_of_a_step_that_read_a_secret(
    api: Api, shared_system: RunningSystem
) -> None:
    broken = {"leftValue": "a", "operator": "regex", "rightValue": "({{ $kv.token }}"}
    steps = [
        step("hash", "plain", input="x", algorithm="{{ $kv.token }}"),
        step("hash", "changed", input="x", algorithm="{{ $kv.token | upper }}"),
        step("hash", "wrong", input="{{ add $kv.token 1 }}"),
        {**step("var", "filter"), "filters": [broken]},
    ]
    play, layers = await ended(api, *steps)
    assert {layer["state"] for layer in layers.values()} == {"FAIL"}
    assert "arg algorithm" in layers["changed"]["error"]
    told = await history_of(shared_system, play["playId"]) + str(layers)
    assert [trace for trace in TRACES if trace in told] == []


async def test_13_the_modules_for_entries_show_no_secret(api: Api, shared_system: RunningSystem) -> None:
    steps = [
        step("kv-get", "get", key="token", scope="global"),
        step("kv-set", "derived", key="derived", value="{{ upper $kv.token }}"),
        step("kv-set", "stars", key="derived", value="***"),
        step("kv-get", "again", key="derived"),
    ]
    play, layers = await ended(api, *steps)
    assert (layers["get"]["errorCode"], layers["again"]["errorCode"]) == ("SECRET_SHOWN", "SECRET_SHOWN")
    assert layers["derived"]["out"] == {"key": "derived", "value": None, "scope": "flow"}
    assert "mask" in layers["stars"]["error"]
    told = await history_of(shared_system, play["playId"]) + str(layers)
    assert [trace for trace in TRACES if trace in told] == []


async def test_13_a_filter_may_compare_with_a_secret(api: Api) -> None:
    same = [{"leftValue": "{{ $prev.args.given }}", "operator": "eq", "rightValue": "{{ $kv.token }}"}]
    steps = [{**step("var", "a", values={"n": 1}), "filters": same}]
    for given, state in (("other", "FILTERED"), (SECRET, "DONE")):
        _, layers = await ended(api, *steps, args={"given": given})
        assert layers["a"]["state"] == state
