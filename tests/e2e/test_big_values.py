"""Big values: args and outputs above the inline limit, from the call that brings them to wherever they are shown."""

import asyncio
import hashlib
import json

from libs.common import subjects
from libs.common.bus import Bus
from tests.e2e.api import Api, Json
from tests.fixtures.system import RunningSystem

TEXT = (
    "0123456789abcdef" * 56_000
)  # 896,000 bytes: below the limit of a request, above that of a message's value
BIG = {"ref": "big", "appId": "var", "args": {"values": {"text": "{{ $prev.args.text }}"}}}
GATE = {
    "ref": "after",
    "appId": "var",
    "needsApproval": True,
    "index": 1,
    "args": {"values": {"same": "{{ eq $prev.big.text $prev.args.text }}"}},
}


def _copies(count: int) -> Json:
    values = {f"copy{n}": "{{ $prev.args.text }}" for n in range(count)}
    return {"ref": "big", "appId": "var", "args": {"values": values}}


async def test_big_args_and_outputs_are_shown_whole(api: Api) -> None:
    flow = await api.create_flow("Whole", BIG)
    ended = await api.run(flow["id"], {"text": TEXT}, wait=60)
    assert (ended["state"], ended["out"]) == ("DONE", {"text": TEXT})
    play = await api.get(f"/api/plays/{ended['playId']}")
    assert (play["args"], play["out"]) == ({"text": TEXT}, {"text": TEXT})
    (step,) = await api.get(f"/api/plays/{ended['playId']}/layers")
    assert step["out"] == {"text": TEXT}


async def test_what_looks_like_a_reference_is_a_value_like_any_other(api: Api) -> None:
    flow = await api.create_flow("Disguise", {**BIG, "args": {"values": {"seen": "{{ $prev.args }}"}}})
    args = {"payloads": {"args": {"digest": "0" * 64, "bytes": 1}}, "digest": "0" * 64, "bytes": 1}
    ended = await api.run(flow["id"], args, wait=60)
    assert ended["out"] == {"seen": args}
    assert (await api.get(f"/api/plays/{ended['playId']}"))["args"] == args


async def test_an_output_of_many_megabytes_is_stored_and_answered(api: Api) -> None:
    flow = await api.create_flow("Large", _copies(12))
    ended = await api.run(flow["id"], {"text": TEXT}, wait=60)
    assert ended["state"] == "DONE", ended["error"]
    # A read waits for the read model for a second; so big a value may take it longer.
    play = await api.wait_for(ended["playId"], "DONE")
    assert play["out"] == ended["out"] == {f"copy{n}": TEXT for n in range(12)}


async def test_an_output_above_the_limit_fails_its_step_and_says_both_sizes(api: Api) -> None:
    # A quote is one character of an expression's output, and two of its JSON.
    quotes = '"' * 480_000
    flow = await api.create_flow("Too large", _copies(18))
    ended = await api.run(flow["id"], {"text": quotes}, wait=60)
    assert (ended["state"], ended["errorCode"]) == ("FAIL", "OUTPUT_TOO_LARGE")
    size = len(json.dumps({f"copy{n}": quotes for n in range(18)}, separators=(",", ":")))
    assert f"{size} bytes" in ended["error"]
    assert "16777216" in ended["error"]


async def test_a_body_above_the_limit_is_refused_in_the_form_of_the_api(api: Api) -> None:
    flow = await api.create_flow("Body", BIG)
    body = {"args": {"text": TEXT + TEXT}}
    refused = await api.refused("POST", f"/api/flows/{flow['id']}/run", body)
    assert refused == (413, "PAYLOAD_TOO_LARGE")


async def test_big_values_are_read_back_when_a_play_goes_on(api: Api) -> None:
    flow = await api.create_flow("Goes on", BIG, GATE)
    parked = await api.run(flow["id"], {"text": TEXT}, wait=60)
    assert parked["state"] == "WAIT"
    await api.post(f"/api/plays/{parked['playId']}/approve", {"layerId": "after", "decision": "approved"})
    play = await api.wait_for(parked["playId"])
    assert (play["state"], play["out"]) == ("DONE", {"same": True})


async def test_a_frame_says_that_its_output_is_elsewhere(api: Api) -> None:
    flow = await api.create_flow("Frames", BIG)
    ended = await api.run(flow["id"], {"text": TEXT}, wait=60)
    async with api.socket(f"?flowId={flow['id']}&since=0") as socket:
        frames = await socket.until("play:completed")
    shown = {frame["type"]: frame for frame in frames}
    for kind in ("play:layer:completed", "play:completed"):
        assert (shown[kind]["out"], shown[kind]["outTruncated"]) == (None, True)
    assert ended["state"] == "DONE"


async def test_a_value_that_is_gone_fails_its_play_and_says_so(
    api: Api, shared_system: RunningSystem
) -> None:
    flow = await api.create_flow("Gone", BIG, GATE)
    gone = {"text": TEXT[:-1] + "!"}
    digest = hashlib.sha256(json.dumps(gone, separators=(",", ":")).encode()).hexdigest()
    parked = await api.run(flow["id"], gone, wait=60)
    bus = await Bus.connect(shared_system.env()["HEADRACE_NATS_URL"], name="test")
    await bus.api(f"STREAM.PURGE.{subjects.PAYLOADS}", {"filter": subjects.payload_chunks("*", digest)})
    await bus.close()
    # Whoever wrote the value may still know it: a new executor has to read it.
    shared_system.wait_restarted("executor-0", shared_system.kill("executor-0"))
    body = {"layerId": "after", "decision": "approved"}
    deciding = asyncio.create_task(api.call("POST", f"/api/plays/{parked['playId']}/approve", body))
    play = await api.wait_for(parked["playId"], within_s=120)
    await deciding
    assert (play["state"], play["errorCode"]) == ("FAIL", "PAYLOAD_LOST")
