"""Steps read and write KV entries: `$kv` in expressions, and the modules (spec flow8 sections 7, 13 and 17.7)."""

import asyncio

import pytest

from libs.common import subjects
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of, neighbour
from tests.e2e.steps import step, var
from tests.fixtures.system import RunningSystem


async def out_of(api: Api, flow: Json, args: Json = None) -> Json:
    """Return what a flow's last step gives."""
    ended = await api.run(flow["id"], args, wait=60)
    assert ended["state"] == "DONE", ended
    return ended["out"]


# ── section 7: $kv in expressions ───────────────────────────────────────────────────────────────────


async def test_7_every_way_to_read_an_entry(api: Api) -> None:
    await api.keep("limit", 100)
    await api.keep("smtp", {"host": "mail", "ports": [25, 587]})
    flow = await api.create_flow("Reads")
    await api.keep("limit", 7, scope="flow", scopeKey=flow["id"])
    step = var(
        got='{{ $kv.get "limit" }}',
        dotted="{{ $kv.limit }}",
        bracketed='{{ $kv["limit"] }}',
        company='{{ $kv.getGlobal "limit" }}',
        scoped='{{ $kv.getScoped "flow" $flowId "limit" }}',
        wide='{{ $kv.getScoped "global" "" "limit" }}',
        nested="{{ $kv.smtp.ports[1] }}",
        text="{{ $kv.smtp.host }}:{{ $kv.smtp.ports[0] }}",
        missing='{{ $kv.get "no such key" }}',
        named="{{ $kv.get $prev.args.key }}",
    )
    await api.add_layer(flow["id"], **step)
    assert await out_of(api, flow, {"key": "smtp"}) == {
        "got": 7,
        "dotted": 7,
        "bracketed": 7,
        "company": 100,
        "scoped": 7,
        "wide": 100,
        "nested": 587,
        "text": "mail:25",
        "missing": None,
        "named": {"host": "mail", "ports": [25, 587]},
    }


async def test_7_a_filter_may_read_an_entry(api: Api) -> None:
    await api.keep("open for business", True)
    gate = {"leftValue": '{{ $kv.get "open for business" }}', "operator": "eq", "rightValue": "true"}
    flow = await api.create_flow("Filtered by KV", {**var(n=1), "filters": [gate]})
    assert await out_of(api, flow) == {"n": 1}
    await api.keep("open for business", False)
    assert (await api.run(flow["id"], wait=60))["state"] == "FILTERED"


async def test_7_entries_are_read_when_the_step_is_evaluated(api: Api) -> None:
    count = {"appId": "kv-increment", "args": {"key": "turns"}}
    flow = await api.create_flow(
        "Turns", {**count, "ref": "one"}, var("a", n="{{ $kv.turns }}"), {**count, "ref": "two"},
        var("b", before="{{ $prev.a.n }}", n="{{ $kv.turns }}"),
    )  # fmt: skip
    assert await out_of(api, flow) == {"before": 1, "n": 2}


async def test_7_an_entry_read_after_an_approval_is_the_one_of_then(api: Api) -> None:
    await api.keep("price", "old")
    gate = {"leftValue": "{{ $kv.price }}", "operator": "eq", "rightValue": "old"}
    flow = await api.create_flow(
        "Approved price", {**var(price="{{ $kv.price }}"), "needsApproval": True, "filters": [gate]}
    )
    parked = await api.run(flow["id"], wait=60)
    await api.keep("price", "new")
    await api.post(f"/api/plays/{parked['playId']}/approve", {"layerId": "a", "decision": "approved"})
    assert (await api.wait_for(parked["playId"]))["out"] == {"price": "new"}


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ('{{ $kv.getScoped "company" "" "k" }}', "scope must be one of global, flow_group, flow"),
        ('{{ $kv.getScoped "flow" "0123" "k" }}', "scopeKey 0123 names no flow"),
        ('{{ $kv.getScoped "flow_group" "" "k" }}', "this flow has no group"),
        ('{{ $kv.get "" }}', "key must not be empty"),
        ("{{ $kv.get $prev.args.long }}", "key"),
    ],
)
async def test_7_a_question_that_nobody_can_answer_fails_the_step(
    api: Api, expression: str, error: str
) -> None:
    flow = await api.create_flow("Bad question", {**var(n=expression), "retry": {"count": 3}})
    ended = await api.run(flow["id"], {"long": "x" * 600}, wait=60)
    assert (ended["state"], ended["errorCode"]) == ("FAIL", "EXPRESSION_ERROR")
    assert error in ended["error"]


async def test_7_a_step_reads_only_so_many_entries(api: Api) -> None:
    many = var(**{f"v{n}": f'{{{{ $kv.get "many {n}" }}}}' for n in range(65)})
    flow = await api.create_flow("Many", many)
    ended = await api.run(flow["id"], wait=60)
    assert (ended["state"], ended["errorCode"]) == ("FAIL", "KV_READ_TOO_LARGE")
    assert "at most 64 entries" in ended["error"]


async def test_7_a_step_reads_only_so_much(api: Api) -> None:
    for n in range(3):
        await api.keep(f"heavy {n}", "x" * 200_000)
    two = var(a='{{ len ($kv.get "heavy 0") }}', b='{{ len ($kv.get "heavy 1") }}')
    three = var(**two["args"]["values"], c='{{ len ($kv.get "heavy 2") }}')
    assert await out_of(api, await api.create_flow("Two", two)) == {"a": 200_000, "b": 200_000}
    ended = await api.run((await api.create_flow("Three", three))["id"], wait=60)
    assert ended["errorCode"] == "KV_READ_TOO_LARGE"


async def test_7_entries_of_another_company_are_not_read(shared_system: RunningSystem, api: Api) -> None:
    async with neighbour(shared_system) as other:
        theirs = await other.create_flow("Theirs")
        await other.keep("whose", "theirs")
        await other.keep("whose", "theirs", scope="flow", scopeKey=theirs["id"])
    flow = await api.create_flow("Ours", var(n="{{ $kv.whose }}"))
    assert await out_of(api, flow) == {"n": None}
    nosy = await api.create_flow("Nosy", var(n=f'{{{{ $kv.getScoped "flow" "{theirs["id"]}" "whose" }}}}'))
    assert (await api.run(nosy["id"], wait=60))["errorCode"] == "EXPRESSION_ERROR"


# ── section 13: scopes ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({}, "flow"),
        ({"kvConflict": "parent"}, "global"),
        ({"kvInherit": "false", "kvConflict": "parent"}, "flow"),
    ],
)
async def test_13_a_flow_says_which_scope_wins(api: Api, settings: Json, read: str) -> None:
    group = await api.post("/api/groups", {"name": "Scopes"}, status=201)
    flow = await api.create_flow("Scoped", var(n="{{ $kv.winner }}"), groupId=group["id"], **settings)
    await api.keep("winner", "global")
    await api.keep("winner", "group", scope="flow_group", scopeKey=group["id"])
    await api.keep("winner", "flow", scope="flow", scopeKey=flow["id"])
    assert await out_of(api, flow) == {"n": read}


async def test_13_without_inheritance_only_the_own_scope_is_read(api: Api) -> None:
    await api.keep("company only", 1)
    step = {"ref": "b", "appId": "kv-get", "args": {"key": "company only"}}
    flow = await api.create_flow("Alone", var(n='{{ $kv["company only"] }}'), step, kvInherit="false")
    assert await out_of(api, flow) == {"value": None, "found": False}


async def test_13_scopes_are_merged_when_the_flow_says_so(api: Api) -> None:
    flow = await api.create_flow("Merged", var(n="{{ $kv.settings }}"), kvConflict="merge")
    await api.keep("settings", {"a": 1, "list": [1]})
    await api.keep("settings", {"b": 2, "list": [2]}, scope="flow", scopeKey=flow["id"])
    assert await out_of(api, flow) == {"n": {"a": 1, "b": 2, "list": [1, 2]}}


# ── section 17.7: the modules ───────────────────────────────────────────────────────────────────────


async def test_17_7_kv_get_says_whether_there_is_an_entry(api: Api) -> None:
    flow = await api.create_flow("Get", step("kv-get", key="{{ $prev.args.key }}"))
    await api.keep("there", [1])
    assert await out_of(api, flow, {"key": "there"}) == {"value": [1], "found": True}
    assert await out_of(api, flow, {"key": "not there"}) == {"value": None, "found": False}


@pytest.mark.parametrize(
    ("value", "kept"),
    [(42, "42"), (0.5, "0.5"), (True, "true"), ("text", "text"), ({"a": 1}, {"a": 1}), ([1, "2"], [1, "2"])],
)
async def test_17_7_kv_set_keeps_scalars_as_text(api: Api, value: Json, kept: Json) -> None:
    flow = await api.create_flow("Set", step("kv-set", key="kept", value="{{ $prev.args.value }}"))
    assert await out_of(api, flow, {"value": value}) == {"key": "kept", "value": kept, "scope": "flow"}
    (entry,) = (await api.get(f"/api/kv?scope=flow&scopeKey={flow['id']}"))["data"]
    assert (entry["key"], entry["value"]) == ("kept", kept)


async def test_17_7_kv_set_keeps_nothing_that_is_too_deep_for_its_output(api: Api) -> None:
    def around(value: Json, levels: int) -> Json:
        for _ in range(levels):
            value = [value]
        return value

    flow = await api.create_flow(
        "Deep",
        step("var", "more", values={"deep": around("{{ $prev.args.deep }}", 80)}),
        {**step("kv-set", key="kept", value=around("{{ $prev.more.deep }}", 85)), "index": 1},
    )
    shallow = await api.run(flow["id"], {"deep": around(1, 80)}, wait=60)
    assert shallow["state"] == "DONE"
    play = await api.run(flow["id"], {"deep": around(2, 90)}, wait=60)
    assert play["state"] == "FAIL"
    assert play["error"] == "kv-set: arg value: nests more than 248 deep"
    (entry,) = (await api.get(f"/api/kv?scope=flow&scopeKey={flow['id']}"))["data"]
    assert entry["value"] == around(1, 245)


async def test_17_7_a_counter_is_written_with_add(api: Api) -> None:
    flow = await api.create_flow(
        "Counter",
        step("kv-set", key="count", value="{{ add $kv.count 1 }}"),
        step("kv-get", "b", key="count"),
    )
    assert [await out_of(api, flow) for _ in range(3)] == [
        {"value": "1", "found": True},
        {"value": "2", "found": True},
        {"value": "3", "found": True},
    ]


async def test_17_7_kv_append_grows_lists_and_texts(api: Api) -> None:
    flow = await api.create_flow("Append", step("kv-append", key="log", value="{{ $prev.args.value }}"))
    assert await out_of(api, flow, {"value": {"n": 1}}) == {"value": [{"n": 1}]}
    assert await out_of(api, flow, {"value": 2}) == {"value": [{"n": 1}, 2]}
    await api.keep("log", "ab", scope="flow", scopeKey=flow["id"])
    assert await out_of(api, flow, {"value": "cd"}) == {"value": "abcd"}
    await api.keep("log", {"a": 1}, scope="flow", scopeKey=flow["id"])
    ended = await api.run(flow["id"], {"value": 1}, wait=60)
    assert (ended["state"], ended["errorCode"]) == ("FAIL", "KV_TYPE_MISMATCH")


async def test_17_7_concurrent_appends_and_counts_all_count(api: Api) -> None:
    append = step("kv-append", "append", key="all", value="{{ $prev.args.n }}")
    count = {**step("kv-increment", "count", key="plays", by=2), "index": 0}
    flow = await api.create_flow("Concurrent", {**append, "index": 0}, count)
    plays = await asyncio.gather(*(api.run(flow["id"], {"n": n}, wait=60) for n in range(25)))
    assert {play["state"] for play in plays} == {"DONE"}
    entries = (await api.get(f"/api/kv?scope=flow&scopeKey={flow['id']}"))["data"]
    kept = {entry["key"]: entry["value"] for entry in entries}
    assert (sorted(kept["all"]), kept["plays"]) == (list(range(25)), 50)


async def test_17_7_kv_delete_forgets(api: Api) -> None:
    flow = await api.create_flow("Delete", step("kv-delete", key="gone", scope="global"))
    await api.keep("gone", 1)
    assert await out_of(api, flow) == {"key": "gone", "deleted": True}
    assert await out_of(api, flow) == {"key": "gone", "deleted": False}
    assert (await api.get("/api/kv?prefix=gone"))["total"] == 0


async def test_17_7_scopes_of_the_modules(api: Api) -> None:
    group = await api.post("/api/groups", {"name": "Modules"}, status=201)
    other = await api.create_flow("Other")
    flow = await api.create_flow(
        "Writes everywhere",
        step("kv-set", "own", key="where", value="own"),
        step("kv-set", "group", key="where", value="group", scope="flow_group"),
        step("kv-set", "company", key="where", value="company", scope="global"),
        step("kv-set", "other", key="where", value="other", scope="flow", scopeKey=other["id"]),
        step("kv-get", "read", key="where", scope="flow", scopeKey=other["id"]),
        groupId=group["id"],
    )
    assert await out_of(api, flow) == {"value": "other", "found": True}
    entries = (await api.get("/api/kv?prefix=where"))["data"]
    assert {(entry["scope"], entry["scopeKey"]): entry["value"] for entry in entries} == {
        ("flow", flow["id"]): "own",
        ("flow_group", group["id"]): "group",
        ("global", None): "company",
        ("flow", other["id"]): "other",
    }


@pytest.mark.parametrize(
    ("app_id", "args", "error"),
    [
        ("kv-set", {"key": "", "value": 1}, "arg key"),
        ("kv-set", {"key": "k"}, "missing required field `value`"),
        ("kv-set", {"key": "k", "value": 1, "scope": "company"}, "arg scope"),
        ("kv-set", {"key": "k", "value": 1, "scope": "flow_group"}, "this flow has no group"),
        ("kv-set", {"key": "k", "value": 1, "scopeKey": "nobody"}, "scopeKey nobody names no flow"),
        ("kv-set", {"key": "k", "value": "{{ $prev.args.big }}"}, "at most 262144 bytes"),
        ("kv-increment", {"key": "k", "by": "many"}, "arg by"),
    ],
)
async def test_17_7_bad_args_fail_the_step_at_once(api: Api, app_id: str, args: Json, error: str) -> None:
    flow = await api.create_flow("Bad args", {**step(app_id, **args), "retry": {"count": 5}})
    ended = await api.run(flow["id"], {"big": ["x" * 262_144]}, wait=60)
    assert ended["state"] == "FAIL"
    assert error in ended["error"]
    assert (await api.layers_of(ended["playId"]))["a"]["attempts"] == 1


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_secret_is_used_and_stands_in_no_event(shared_system: RunningSystem, api: Api) -> None:
    secret = "sk_live_0815_4711"
    await api.keep("api key", secret, secret=True)
    sign = step("hmac", "sign", input="text", key='{{ $kv["api key"] }}')
    refused = {
        **step("curl", "call", url="http://127.0.0.1:9/", bearerToken='{{ $kv["api key"] }}'),
        "retry": {"count": 1},
        "onError": "continue",
    }
    told = {**step("hash", "told", input="x", algorithm='{{ $kv["api key"] }}'), "onError": "continue"}
    said = step("log", "said", message='the key is {{ $kv["api key"] }}')
    flow = await api.create_flow("Secret", sign, refused, told, said)
    ended = await api.run(flow["id"], wait=60)
    assert ended["out"] == {"message": "the key is ***", "level": "info"}
    layers = await api.layers_of(ended["playId"])
    assert len(layers["sign"]["out"]["result"]) == 64
    assert secret not in str(layers)
    async with bus_of(shared_system) as bus:
        stored = await bus.load(subjects.plays_stream(0), f"evt.play.*.*.*.{ended['playId']}.*")
    log = b"".join(message.data for message in stored)
    assert b'"read":["{' in log
    assert secret.encode() not in log
    assert secret not in "".join(shared_system.logs(name) for name in shared_system.names())


async def test_kv_set_keeps_a_secret_a_secret(api: Api) -> None:
    entry = await api.keep("rotating", "first-secret", secret=True)
    known = {"leftValue": "{{ $kv.rotating }}", "operator": "eq", "rightValue": "first-secret-2"}
    flow = await api.create_flow(
        "Rotate", step("kv-set", key="rotating", value="{{ $kv.rotating }}-2", scope="global"),
        {**var("b", n=1), "filters": [known]},
    )  # fmt: skip
    ended = await api.run(flow["id"], wait=60)
    assert ended["out"] == {"n": 1}
    assert (await api.layers_of(ended["playId"]))["a"]["out"] == {
        "key": "rotating",
        "value": None,
        "scope": "global",
    }
    assert (await api.get(f"/api/kv/{entry['id']}"))["value"] is None
