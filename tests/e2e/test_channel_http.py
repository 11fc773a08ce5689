"""HTTP channels over real sockets (spec flow8 section 14.1)."""

import asyncio

import pytest

from services.gateway.channels.book import LOOK_AGAIN_S
from tests.e2e.api import Api, Json
from tests.e2e.channels import ECHO, Door, call, closed, door, refused
from tests.waiting import eventually

SUM = {"ref": "sum", "appId": "var", "args": {"values": {"gross": "{{ mul $prev.args.body.net 2 }}"}}}


async def echo(api: Api, *layers: Json, **fields: Json) -> str:
    flow = await api.create_flow("Echo", *(layers or (ECHO,)), **fields)
    return str(flow["id"])


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


async def test_14_1_a_synchronous_call_answers_with_the_last_output(api: Api) -> None:
    async with door(api, [await echo(api, SUM)]) as opened:
        answer = await call(opened, body={"net": 21})
        play = await api.get(f"/api/plays/{answer.headers['Headrace-Play-Id']}")
    assert (answer.status, answer.json) == (200, {"gross": 42})
    assert (play["state"], play["trigger"], play["out"]) == ("DONE", "channel", {"gross": 42})


async def test_14_1_an_asynchronous_call_answers_at_once(api: Api) -> None:
    async with door(api, [await echo(api, SUM)], route={"responseMode": "async"}) as opened:
        answer = await call(opened, body={"net": 1})
        play = await api.wait_for(answer.json["playId"])
    assert (answer.status, set(answer.json), answer.json["status"]) == (200, {"playId", "status"}, "queued")
    assert play["out"] == {"gross": 2}


async def test_14_1_several_flows_all_run_and_answer_in_their_order(api: Api) -> None:
    first, second = await echo(api, SUM), await echo(api)
    async with door(api, [first, second]) as opened:
        table = (await call(opened, body={"net": 2})).json
    async with door(api, [first, second], route={"responseMode": "async"}) as opened:
        queued = (await call(opened, body={"net": 2})).json
        states = [(await api.wait_for(play_id))["state"] for play_id in queued["playIds"]]
    assert [(row["flowId"], row["state"]) for row in table] == [(first, "DONE"), (second, "DONE")]
    assert (table[0]["out"], set(table[1])) == ({"gross": 4}, {"flowId", "playId", "state", "out"})
    assert (queued["status"], states) == ("queued", ["DONE", "DONE"])


async def test_14_1_a_flow_that_fails_answers_500_with_its_play(api: Api) -> None:
    wrong = {"ref": "sum", "appId": "var", "args": {"values": {"n": "{{ div 1 0 }}"}}}
    async with door(api, [await echo(api, wrong)]) as opened:
        answer = await call(opened, body={})
        play = await api.get(f"/api/plays/{answer.json['playId']}")
    assert refused(answer)[0] == 500
    assert (play["state"], play["error"]) == ("FAIL", answer.json["message"])


async def test_14_1_a_flow_without_output_answers_with_an_empty_object(api: Api) -> None:
    never = {**ECHO, "filters": [{"leftValue": "a", "operator": "eq", "rightValue": "b"}]}
    async with door(api, [await echo(api, never)]) as opened:
        answer = await call(opened, body={})
    assert (answer.status, answer.json) == (200, {})


async def test_14_1_a_flow_that_is_too_slow_answers_504_and_goes_on(api: Api) -> None:
    slow = {"ref": "wait", "appId": "delay", "args": {"ms": 2_500}}
    async with door(api, [await echo(api, slow)], route={"timeoutSeconds": 1}) as opened:
        answer = await call(opened, body={})
        play = await api.wait_for(answer.json["playId"])
    assert refused(answer) == (504, "TIMEOUT")
    assert play["state"] == "DONE"


async def test_14_1_a_call_waits_through_a_delay(api: Api) -> None:
    slow = {"ref": "wait", "appId": "delay", "args": {"ms": 2_500}}
    async with door(api, [await echo(api, slow, {**SUM, "index": 1})]) as opened:
        answer = await call(opened, body={"net": 3})
    assert (answer.status, answer.json) == (200, {"gross": 6})


async def test_14_1_a_flow_that_waits_for_an_approval_answers_202(api: Api) -> None:
    async with door(api, [await echo(api, {**ECHO, "needsApproval": True})]) as opened:
        answer = await call(opened, body={})
        play = await api.get(f"/api/plays/{answer.json['playId']}")
    assert (answer.status, answer.json["status"], play["state"]) == (202, "waiting", "WAIT")


async def test_14_1_a_disabled_flow_answers_409_and_a_deleted_one_404(api: Api) -> None:
    flow = await echo(api)
    async with door(api, [flow]) as opened:
        await api.put(f"/api/flows/{flow}", {"enabled": False})
        disabled = await eventually_refused(opened, 409)
        await api.delete(f"/api/flows/{flow}")
        deleted = await eventually_refused(opened, 404)
    assert (disabled, deleted) == ((409, "FLOW_DISABLED"), (404, "FLOW_NOT_FOUND"))


async def eventually_refused(opened: Door, status: int) -> tuple[int, str]:
    async def answered() -> Json:
        answer = await call(opened, body={})
        return refused(answer) if answer.status == status else None

    found: tuple[int, str] = await eventually(answered)
    return found


# ── routes and args ─────────────────────────────────────────────────────────────────────────────────


async def test_14_1_a_request_arrives_as_args(api: Api) -> None:
    async with door(api, [await echo(api)], route={"path": "/shops/:shop/orders/:order"}) as opened:
        path = "/shops/nord%20west/orders/7/?a=1&b=x&a=2&empty="
        headers = {"X-Custom": "Yes", "Content-Type": "application/json; charset=utf-8"}
        got = (await call(opened, path, body={"k": [1, None]}, headers=headers)).json["got"]
    assert got["body"] == {"k": [1, None]}
    assert got["params"] == {"shop": "nord west", "order": "7"}
    assert got["query"] == {"a": ["1", "2"], "b": "x", "empty": ""}
    assert (got["method"], got["path"]) == ("POST", "/shops/nord%20west/orders/7/")
    assert got["headers"]["x-custom"] == "Yes"
    assert all(name == name.lower() for name in got["headers"])


@pytest.mark.parametrize(
    ("raw", "content_type", "body"),
    [
        (b"[1]", "application/problem+json", [1]),
        (b"a=1&b=%C3%A4&a=2", "application/x-www-form-urlencoded", {"a": ["1", "2"], "b": "ä"}),
        ("Grüße".encode(), "text/plain", "Grüße"),
        (b'{"no": "json"}', "text/plain", '{"no": "json"}'),
        (b"", "application/json", None),
    ],
)
async def test_14_1_bodies_are_read_by_their_type(
    api: Api, raw: bytes, content_type: str, body: Json
) -> None:
    async with door(api, [await echo(api)]) as opened:
        got = (await call(opened, raw=raw, headers={"Content-Type": content_type})).json["got"]
    assert got["body"] == body
    assert "bodyEncoding" not in got


async def test_14_1_a_body_that_is_no_text_comes_in_base64(api: Api) -> None:
    async with door(api, [await echo(api)]) as opened:
        headers = {"Content-Type": "application/octet-stream"}
        got = (await call(opened, raw=b"\xff\xfe\x00", headers=headers)).json["got"]
    assert (got["body"], got["bodyEncoding"]) == ("//4A", "base64")


async def test_14_1_unknown_paths_are_404_and_other_methods_405(api: Api) -> None:
    async with door(api, [await echo(api)], route={"path": "/a/:id"}) as opened:
        unknown = [await call(opened, path) for path in ("/", "/a", "/a/b/c", "//a/b", "/A/b", "/a//")]
        wrong = await call(opened, "/a/b", method="GET")
        right = await call(opened, "/a/b/", body={})
    assert {refused(answer) for answer in unknown} == {(404, "ROUTE_NOT_FOUND")}
    assert refused(wrong) == (405, "METHOD_NOT_ALLOWED")
    assert (wrong.headers["Allow"], right.status) == ("POST", 200)


async def test_14_1_a_literal_path_wins_over_a_parameter(api: Api) -> None:
    named, any_ = await echo(api, SUM), await echo(api)
    async with door(api, [any_], route={"path": "/x/:id"}) as opened:
        route = {"name": "n", "path": "/x/sum", "targetFlowIds": [named]}
        await api.post(f"/api/channels/{opened.channel['id']}/routes", route, status=201)

        async def summed() -> bool:
            return bool((await call(opened, "/x/sum", body={"net": 4})).json == {"gross": 8})

        await eventually(summed)
        assert (await call(opened, "/x/other", body={})).json["got"]["params"] == {"id": "other"}


# ── who may call ────────────────────────────────────────────────────────────────────────────────────


async def test_14_1_a_channel_with_a_token_takes_nobody_without_it(api: Api) -> None:
    async with door(api, [await echo(api)], authToken="t0p-secret") as opened:
        headers = [None, {"Authorization": "Bearer wrong"}, {"Authorization": "t0p-secret"}]
        answers = [await call(opened, body={}, headers=given) for given in headers]
        answers.append(await call(opened, "/unknown", body={}))
        good = await call(opened, body={}, headers={"Authorization": "Bearer t0p-secret"})
    assert {refused(answer) for answer in answers} == {(401, "UNAUTHORIZED")}
    assert good.status == 200
    # Args are kept in the clear.
    assert "t0p-secret" not in str(good.json)


async def test_14_1_a_new_token_holds_at_once(api: Api) -> None:
    async with door(api, [await echo(api)], authToken="first") as opened:
        await call(opened, body={}, headers={"Authorization": "Bearer first"})
        await api.put(f"/api/channels/{opened.channel['id']}", {"authToken": "second"})

        async def second_holds() -> bool:
            return (await call(opened, body={}, headers={"Authorization": "Bearer second"})).status == 200

        await eventually(second_holds)
        old = await call(opened, body={}, headers={"Authorization": "Bearer first"})
    assert refused(old) == (401, "UNAUTHORIZED")


# ── the life of a channel ───────────────────────────────────────────────────────────────────────────


async def test_14_1_a_channel_that_is_disabled_is_closed_and_opens_again(api: Api) -> None:
    async with door(api, [await echo(api)]) as opened:
        path = f"/api/channels/{opened.channel['id']}"
        await api.put(path, {"enabled": False})
        await closed(opened.channel["port"], within_s=LOOK_AGAIN_S / 2)
        again = await api.put(path, {"enabled": True})
        reopened = Door(again, opened.route)

        async def answers() -> bool:
            try:
                return (await call(reopened, body={})).status == 200
            except OSError:
                return False

        await eventually(answers)
        await api.delete(path)
        await closed(again["port"])


async def test_14_1_what_came_in_is_recorded_without_secrets(api: Api) -> None:
    async with door(api, [await echo(api)], authToken="t0p-secret") as opened:
        good = {"Authorization": "Bearer t0p-secret", "X-Api-Key": "k3y", "X-Shown": "yes"}
        played = await call(opened, body={"n": 1}, headers=good)
        await call(opened, body={"n": 1})
        path = f"/api/channels/{opened.channel['id']}/requests"

        async def two() -> Json:
            page = await api.get(path)
            return page if page["total"] == 2 else None

        page = await eventually(two)
        first_only = await api.get(f"{path}?size=1&page=1")
    refusal, answered = page["data"]
    assert (refusal["status"], refusal["playId"], refusal["method"], refusal["path"]) == (
        401,
        None,
        "POST",
        "/in",
    )
    assert (answered["status"], answered["playId"]) == (200, played.headers["Headrace-Play-Id"])
    assert answered["routeId"] == opened.route["id"]
    assert answered["duration"] > 0
    assert answered["headers"]["x-shown"] == "yes"
    assert "t0p-secret" not in str(page)
    assert "k3y" not in str(page)
    assert first_only["data"] == [answered]


async def test_14_1_many_calls_at_once_are_all_answered_and_recorded(api: Api) -> None:
    async with door(api, [await echo(api, SUM)]) as opened:
        answers = await asyncio.gather(*(call(opened, body={"net": n}) for n in range(60)))
        path = f"/api/channels/{opened.channel['id']}/requests?size=1"

        async def all_of_them() -> bool:
            return bool((await api.get(path))["total"] == 60)

        await eventually(all_of_them)
    assert [answer.json for answer in answers] == [{"gross": 2 * n} for n in range(60)]
