"""One of each message about channels, for the golden files."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.messages import channel, request
from libs.common.messages.origin import Origin

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
COMPANY = "69b52a3d0c1f5e8a90000001"
USER = "69b52a3d0c1f5e8a90000002"
FLOW = "69b52a3d0c1f5e8a90000003"
PLAY = "69b52a3d0c1f5e8a90000005"
CHANNEL = "69b52a3d0c1f5e8a9000000d"
ROUTE = "69b52a3d0c1f5e8a9000000e"
ENTRY = "69b52a3d0c1f5e8a9000000f"
ORIGIN = Origin(
    ip="203.0.113.7", user_agent="curl/8.5.0", request_id="a1b2c3", key_id="69b52a3d0c1f5e8a9000000a"
)


def later(seconds: float) -> datetime:
    """Return a time after the moment in which all examples happen."""
    return AT + timedelta(seconds=seconds)


def channel_events() -> list[msgspec.Struct]:
    """Return one of each fact about channels."""
    route = channel.ChannelRoute(
        id=ROUTE,
        name="New order",
        http_method="POST",
        path="/orders/:shop",
        tool_name="new_order",
        description="Takes an order.",
        input_schema={"type": "object", "properties": {"total": {"type": "number"}}},
        target_flow_ids=(FLOW,),
        response_mode="async",
        timeout_seconds=20,
        created_at=AT,
        updated_at=later(10),
    )
    made = channel.Channel(
        id=CHANNEL,
        company_id=COMPANY,
        name="Orders",
        kind="http",
        auth_mode="hmac",
        sealed_token='{"alg":"A256GCM","kid":"k1","nonce":"bm9uY2U=","ct":"Y2lwaGVydGV4dA=="}',
        hmac_style="stripe",
        sealed_hmac_secret='{"alg":"A256GCM","kid":"k1","nonce":"bm9uY2U=","ct":"c2VjcmV0"}',
        hmac_tolerance_seconds=600,
        enabled=True,
        port=7701,
        routes=(route,),
        created_at=AT,
        updated_at=later(10),
    )
    facts: dict[str, Any] = {"at": later(10), "by": USER, "origin": ORIGIN, "channel": made}
    gone = msgspec.structs.replace(made, deleted=True, enabled=False, port=None)
    recorded = request.RequestRecorded(
        at=later(10),
        id=ENTRY,
        company_id=COMPANY,
        channel_id=CHANNEL,
        route_id=ROUTE,
        method="POST",
        path="/orders/north",
        status=200,
        duration_ms=4.25,
        play_ids=(PLAY,),
        headers={"content-type": "application/json", "authorization": "[redacted]"},
        ip="203.0.113.7",
        body_bytes=120,
    )
    return [
        recorded,
        channel.ChannelCreated(**facts),
        channel.ChannelUpdated(**facts),
        channel.ChannelDeleted(**{**facts, "channel": gone}),
        channel.RouteAdded(**facts, route_id=ROUTE),
        channel.RouteUpdated(**facts, route_id=ROUTE),
        channel.RouteDeleted(**facts, route_id=ROUTE),
    ]
