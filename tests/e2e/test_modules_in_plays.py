"""What each module takes, gives and refuses, in plays over HTTP (spec flow8 section 17): many cases share a flow."""

from typing import Any

import pytest
from yarl import URL

from tests.e2e.api import Api, Json
from tests.e2e.module_cases import FAULTS, RESULTS
from tests.e2e.origin import Origin

RAW_JWT_NONE = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiI0MiJ9."


async def outcomes(api: Api, app_id: str, given: list[Json], args: Json = None, **layer: Json) -> list[Json]:
    """Run a module with each of these args, all in one play; return the records of its steps."""
    refs = [f"s{place}" for place in range(len(given))]
    steps = [
        {"ref": ref, "appId": app_id, "args": each, "index": index, "onError": "continue", **layer}
        for index, (ref, each) in enumerate(zip(refs, given, strict=True))
    ]
    flow = await api.create_flow(f"Cases of {app_id}", *steps)
    play = await api.run(flow["id"], args, wait=60)
    layers = await api.layers_of(play["playId"])
    return [layers[ref] for ref in refs]


@pytest.mark.parametrize("app_id", RESULTS)
async def test_17_a_module_gives_for_its_args(api: Api, app_id: str) -> None:
    cases = RESULTS[app_id]
    seen = await outcomes(api, app_id, [args for args, _ in cases])
    assert [(step["error"], step["out"]) for step in seen] == [(None, out) for _, out in cases]


@pytest.mark.parametrize("app_id", FAULTS)
async def test_17_a_module_refuses_at_once_what_it_cannot_use_and_says_what(api: Api, app_id: str) -> None:
    cases = FAULTS[app_id]
    seen = await outcomes(api, app_id, [args for args, _ in cases], retry={"count": 3, "delayMs": 10_000})
    for step, (args, why) in zip(seen, cases, strict=True):
        assert (step["state"], step["attempts"]) == ("FAIL", 1), (args, step)
        assert why in step["error"], (args, step["error"])
        assert (
            step["error"].startswith((f"{app_id}: ", "at position", "pattern")) or "position" in step["error"]
        )


# ── every module's own example ──────────────────────────────────────────────────────────────────────

PREPARED: Json = {"path": "reports/today.csv", "content": "id,total\n42,250\n"}
# What must be there before an example can be run, in the same play.
BEFORE: dict[str, list[Json]] = {
    **{
        app_id: [{"ref": "file", "appId": "storage-write", "args": PREPARED}]
        for app_id in ("storage-read", "storage-move", "storage-delete", "storage-exists", "storage-list")
    },
    **{
        app_id: [{"ref": "entry", "appId": "kv-set", "args": {"key": "lastInvoice", "value": "2026-0042"}}]
        for app_id in ("kv-get", "kv-delete")
    },
    "kv-append": [{"ref": "entry", "appId": "kv-append", "args": {"key": "seen", "value": "first"}}],
    "aggregator": [
        {"ref": "loop", "appId": "iterator", "args": {"items": [12, 30]}},
        {"ref": "price", "appId": "var", "args": {"values": {"amount": "{{ $prev.loop.item }}"}}},
    ],
}


async def test_17_9_the_example_of_every_module_runs_and_gives_what_its_example_shows(
    api: Api, origin: Origin
) -> None:
    await api.create_flow("Send invoice", {"ref": "s", "appId": "var", "args": {"values": {"sent": True}}})
    modules = (await api.get("/api/modules?size=100"))["data"]
    # One after the other: they share files and entries.
    assert {module["appId"]: await run_example(api, module, origin) for module in modules} == {
        module["appId"]: ("DONE", shape(module["outExample"])) for module in modules
    }


async def run_example(api: Api, module: Json, origin: Origin) -> tuple[str, Json]:
    """Run a module's example as a step; return its state and the shape of what it put out."""
    args = dict(module["argsExample"])
    if "url" in args:
        args["url"] = origin.url + URL(args["url"]).path
    step = {"ref": "example", "appId": module["appId"], "args": args}
    flow = await api.create_flow(f"Example of {module['appId']}", *BEFORE.get(module["appId"], []), step)
    play = await api.run(flow["id"], {"amount": 12, "customer": "Ada"}, wait=60)
    layer = (await api.layers_of(play["playId"]))["example"]
    return layer["state"], shape(layer["out"])


def shape(value: Json) -> Json:
    """Return a value with the types of its leaves in their place; headers are whatever the server sent."""
    match value:
        case dict():
            return {name: "headers" if name == "headers" else shape(part) for name, part in value.items()}
        case list():
            return [shape(part) for part in value]
        case _:
            return type(value).__name__


# ── 17.2: expressions in args, and those that are the module's own ──────────────────────────────────


async def test_17_2_fields_of_the_module_are_left_to_it_and_the_engines_are_not(api: Api) -> None:
    given = [
        {
            "items": "{{ $prev.args.orders }}",
            "expression": "{{ .id }}/{{ $prev.args.year }}",
        },
        {"items": "{{ $prev.args.orders }}", "expression": {"n": "{{ mul .id $prev.args.factor }}"}},
    ]
    args = {"orders": [{"id": 1}, {"id": 2}], "year": 2026, "factor": 10}
    texts, numbers = await outcomes(api, "array-map", given, args)
    assert texts["out"]["items"] == ["1/2026", "2/2026"]
    assert numbers["out"]["items"] == [{"n": 10}, {"n": 20}]


async def test_17_2_a_filter_condition_reads_the_play_and_the_element(api: Api) -> None:
    given: list[Json] = [{"items": [5, 15, 25], "condition": "{{ gt . $prev.args.least }}"}]
    (step,) = await outcomes(api, "array-filter", given, {"least": 10})
    assert step["out"] == {"items": [15, 25], "count": 2}


async def test_17_1_a_router_compares_by_truth(api: Api) -> None:
    truths: list[tuple[Json, bool]] = [
        (True, True),
        ("true", True),
        (1, True),
        (-0.5, True),
        ("yes", True),
        (False, False),
        ("false", False),
        (0, False),
        ("0", False),
        ("", False),
        (None, False),
        ("{{ $prev.nobody.there }}", False),
    ]
    given: list[Json] = [{"routes": [{"condition": value, "label": "taken"}]} for value, _ in truths]
    seen = await outcomes(api, "router", given)
    assert [step["out"]["route"] for step in seen] == ["taken" if true else "" for _, true in truths]


# ── 17.3: curl ──────────────────────────────────────────────────────────────────────────────────────


async def call(api: Api, *given: dict[str, Any], **layer: Json) -> list[Json]:
    return await outcomes(api, "curl", list(given), **layer)


async def test_17_3_every_method_carries_what_it_should(api: Api, origin: Origin) -> None:
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    seen = await call(api, *({"url": f"{origin.url}/echo", "method": method} for method in methods))
    assert [step["out"]["body"]["method"] for step in seen] == methods
    keyed = ["idempotency-key" in step["out"]["body"]["headers"] for step in seen]
    assert keyed == [False, True, True, True, True, False]
    (head,) = await call(api, {"url": f"{origin.url}/echo", "method": "HEAD"})
    assert (head["out"]["statusCode"], head["out"]["body"]) == (200, "")


async def test_17_3_bodies_forms_queries_and_credentials(api: Api, origin: Origin) -> None:
    base = {"url": f"{origin.url}/echo?first=1", "method": "POST"}
    query = {"q": "a b&c", "tag": ["x", "y"], "page": 2, "deep": True, "none": None}
    as_json, as_text, as_form, queried, basic, bearer = await call(
        api,
        {**base, "body": {"a": [1]}},
        {**base, "body": "plain"},
        {**base, "bodyForm": {"a": "b c", "n": 1, "list": [1, 2]}},
        {**base, "query": query},
        {**base, "basicAuth": {"user": "ada", "pass": "x"}},
        {**base, "bearerToken": "tok", "headers": {"X-One": 1, "X-None": None}},
    )
    came = [step["out"]["body"] for step in (as_json, as_text, as_form, queried, basic, bearer)]
    assert (came[0]["body"], came[0]["headers"]["content-type"]) == ('{"a":[1]}', "application/json")
    assert (came[1]["body"], came[1]["headers"]["content-type"]) == ("plain", "text/plain; charset=utf-8")
    assert came[2]["body"] == "a=b+c&n=1&list=1&list=2"
    assert came[2]["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert came[3]["query"] == [
        ["first", "1"], ["q", "a b&c"], ["tag", "x"], ["tag", "y"], ["page", "2"], ["deep", "true"]
    ]  # fmt: skip
    assert came[4]["headers"]["authorization"] == "Basic YWRhOng="
    assert came[5]["headers"]["authorization"] == "Bearer tok"
    assert (came[5]["headers"]["x-one"], "x-none" in came[5]["headers"]) == ("1", False)


async def test_17_3_an_answer_has_status_body_headers_and_duration(api: Api, origin: Origin) -> None:
    as_json, as_text, as_bytes = await call(
        api,
        *(
            {"url": f"{origin.url}/status-404/9/x", "responseType": kind}
            for kind in ("json", "text", "binary")
        ),
    )
    assert as_json["out"].keys() == {"statusCode", "body", "headers", "duration"}
    assert (as_json["state"], as_json["out"]["statusCode"]) == ("DONE", 404)
    assert as_json["out"]["body"] == {"refused": True}
    assert as_text["out"]["body"] == '{"refused": true}'
    assert as_bytes["out"]["body"] == "eyJyZWZ1c2VkIjogdHJ1ZX0="
    assert as_json["out"]["headers"]["content-type"].startswith("application/json")
    assert isinstance(as_json["out"]["duration"], int)


async def test_17_3_a_status_may_fail_the_step_and_be_tried_again(api: Api, origin: Origin) -> None:
    passing = {"url": f"{origin.url}/status-503/1/x", "failOnStatus": True}
    lasting = {"url": f"{origin.url}/status-404/1/x", "failOnStatus": True}
    fine = {"url": f"{origin.url}/echo", "failOnStatus": True}
    seen = await call(api, passing, lasting, fine, retry={"count": 2})
    assert [(step["state"], step["attempts"]) for step in seen] == [("DONE", 2), ("FAIL", 1), ("DONE", 1)]
    assert "answered with status 404" in seen[1]["error"]


async def test_17_3_no_answer_fails_the_step(api: Api, origin: Origin) -> None:
    dropped, late, refused = await call(
        api,
        {"url": f"{origin.url}/drop/9/x"},
        {"url": f"{origin.url}/hang/9/x", "timeout": 0.2},
        {"url": "http://192.168.0.1/"},
        retry={"count": 1},
    )
    assert (dropped["state"], dropped["attempts"]) == ("FAIL", 2)
    assert (late["errorCode"], late["attempts"]) == ("TIMEOUT", 2)
    assert (refused["state"], refused["attempts"]) == ("FAIL", 1)


# ── 17.8: tokens ────────────────────────────────────────────────────────────────────────────────────


async def test_17_8_a_token_is_signed_and_checked(api: Api) -> None:
    key = "a secret of thirty-two characters"
    sign = {"ref": "sign", "appId": "jwt-sign", "index": 0}
    steps = [
        {
            **sign,
            "args": {"claims": {"sub": "42", "aud": ["a", "b"], "iss": "me"}, "key": key, "expiresIn": 60},
        },
        {**sign, "ref": "old", "args": {"claims": {"sub": "42", "exp": 1}, "key": key}},
        {**sign, "ref": "early", "args": {"claims": {"nbf": 99_999_999_999}, "key": key}},
    ]
    checks: dict[str, Json] = {
        "good": {"token": "Bearer {{ $prev.sign.token }}", "audience": "b", "issuer": "me"},
        "expired": {"token": "{{ $prev.old.token }}"},
        "early": {"token": "{{ $prev.early.token }}"},
        "audience": {"token": "{{ $prev.sign.token }}", "audience": "c"},
        "issuer": {"token": "{{ $prev.sign.token }}", "issuer": "you"},
        "algorithm": {"token": "{{ $prev.sign.token }}", "algorithm": "HS512"},
        "none": {"token": RAW_JWT_NONE},
        "forged": {"token": "{{ $prev.sign.token }}x"},
        "nothing": {"token": "no.token"},
    }
    verify = [
        {"ref": f"v_{name}", "appId": "jwt-verify", "index": 1, "args": {"key": key, **args}}
        for name, args in checks.items()
    ]
    flow = await api.create_flow("Tokens", *steps, *verify)
    play = await api.run(flow["id"], wait=60)
    layers = await api.layers_of(play["playId"])
    assert layers["v_good"]["out"]["claims"]["sub"] == "42"
    errors = {name: layers[f"v_{name}"]["out"]["error"] for name in checks}
    assert {name: layers[f"v_{name}"]["out"]["valid"] for name in checks} == {n: n == "good" for n in checks}
    assert errors | {"forged": ""} == {
        "good": "",
        "expired": "the token has expired",
        "early": "the token is not valid yet",
        "audience": "the token is for another audience",
        "issuer": "the token is from another issuer",
        "algorithm": "the token is not signed with HS512",
        "none": "the token is not signed with HS256",
        "forged": "",
        "nothing": "the token has not three parts",
    }
    assert errors["forged"]


async def test_17_8_what_was_encrypted_is_decrypted(api: Api) -> None:
    shared = {"key": "000102030405060708090a0b0c0d0e0f", "keyEncoding": "hex"}
    sealed = {"input": "{{ $prev.seal.result }}", **shared}
    flow = await api.create_flow(
        "Sealed",
        {"ref": "seal", "appId": "aes-gcm-encrypt", "args": {"input": "Grüße", "context": "c", **shared}},
        {"ref": "open", "appId": "aes-gcm-decrypt", "args": {"context": "c", **sealed}},
        {
            "ref": "other",
            "appId": "aes-gcm-decrypt",
            "args": {"context": "d", **sealed},
            "onError": "continue",
        },
    )
    play = await api.run(flow["id"], wait=60)
    layers = await api.layers_of(play["playId"])
    assert layers["open"]["out"] == {"result": "Grüße"}
    assert "key and context" in layers["other"]["error"]
