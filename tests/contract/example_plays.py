"""One realistic message of each type about plays, every field set (see examples)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.common.messages import approval, play

AT = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
USER = "69b52a3d0c1f5e8a90000002"
LAYER = "69b52a3d0c1f5e8a90000004"
PARENT = "69b52a3d0c1f5e8a90000006"
SCHEDULE = "69b52a3d0c1f5e8a90000007"
WAIT = "69b52a3d0c1f5e8a90000009"
SEED = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
ARGS = {
    "customer": "Grüße, Ada",
    "total": 1250.5,
    "lines": [{"sku": "A-1", "count": 2}],
    "urgent": True,
    "note": None,
}
OUT = {"statusCode": 200, "body": {"id": 7, "tags": ["a", "b"]}}
REPLAY = play.Replay(play_id=PARENT, shard=1, sequence=1210, from_ref="charge")


def later(seconds: float) -> datetime:
    """Return a time after the moment in which all examples happen."""
    return AT + timedelta(seconds=seconds)


GATE = approval.Gate(
    approvers=("admin", "ada@example.test"),
    count=2,
    timeout_at=later(7200),
    on_timeout="escalate",
    escalate_to=("admin",),
    no_self_approval=True,
    remind_every_seconds=1800,
    remind_at=later(3600),
    reminders=1,
    escalated=True,
    votes=(approval.Vote(by=USER, at=later(50), decision="declined", note="looks right"),),
)


def play_commands() -> list[msgspec.Struct]:
    """Return one of each command that a play may get."""
    return [
        play.StartPlay(
            at=AT,
            definition=42,
            flow_version=3,
            args=ARGS,
            trigger="schedule",
            by=USER,
            seed=SEED,
            idempotency_key="order-1250",
            parent_play_id=PARENT,
            schedule_id=SCHEDULE,
            replay=REPLAY,
        ),
        play.WakePlay(at=AT, wait_id=WAIT),
        play.ApprovePlay(
            at=AT,
            layer_id=LAYER,
            decision="approved",
            note="looks right",
            by=USER,
            role="operator",
            email="ada@example.test",
        ),
        play.CancelPlay(at=AT, by=USER),
        play.HoldPlay(at=AT, by=USER, note="until the audit is over"),
        play.ResumePlay(at=AT, by=USER, note="the audit is over"),
        play.RetryPlay(at=AT, after=1210, by=USER, note="the bank is back"),
    ]


def play_events() -> list[msgspec.Struct]:
    """Return one of each fact about a whole play."""
    driver = play.Driver(sequence=1201, delivery=2)
    return [
        play.PlayStarted(
            at=later(0.002),
            definition=42,
            flow_version=3,
            driver=driver,
            epoch=4,
            requested_at=AT,
            args=ARGS,
            trigger="subflow",
            by=USER,
            seed=SEED,
            idempotency_key="order-1250",
            parent_play_id=PARENT,
            schedule_id=SCHEDULE,
            replay=REPLAY,
        ),
        play.PlayResumed(at=later(60), epoch=2, driver=driver, reason="approval"),
        play.PlayWaiting(
            at=later(0.01), wait_id=WAIT, until=later(3600), ref="gate", layer_id=LAYER, iteration=(2,)
        ),
        play.CancelRequested(at=later(5), by=USER),
        play.HoldRequested(at=later(5), by=USER, note="until the audit is over"),
        play.PlayHeld(at=later(6)),
        play.HoldLifted(at=later(60), by=USER, note="the audit is over"),
        play.PlayRetried(
            at=later(90),
            epoch=3,
            driver=driver,
            number=2,
            refs=("charge", "ship"),
            by=USER,
            note="the bank is back",
        ),
        play.PlayCompleted(at=later(61), state="DONE", out=OUT, started_at=later(0.002)),
        play.PlayFailed(
            at=later(61),
            error="execution timeout after 300 s",
            error_code="TIMEOUT",
            ref="charge",
            layer_id=LAYER,
            started_at=later(0.002),
        ),
        play.PlaySnapshot(at=later(61), version=1, bytes=27, play={"status": "WAIT", "epoch": 4}),
    ]


def play_layer_events() -> list[msgspec.Struct]:
    """Return one of each fact about one step of a play."""
    step: dict[str, Any] = {"ref": "charge", "layer_id": LAYER, "order": 2}
    return [
        play.ApprovalDecided(at=later(60), **step, decision="declined", note="too much", by=USER, gate=GATE),
        play.ApprovalVoted(at=later(50), **step, gate=GATE),
        play.ApprovalEscalated(at=later(3600), **step, gate=GATE),
        play.ApprovalReminded(at=later(1800), **step, gate=GATE),
        play.LayerStarted(at=later(0.003), **step, attempt=2),
        play.LayerWaiting(
            at=later(0.003), **step, kind="delay", until=later(90), out={"ms": 90_000}, gate=GATE
        ),
        play.LayerRetrying(
            at=later(0.9), **step, attempt=1, error="HTTP 503", error_code="MODULE_ERROR", until=later(1.9)
        ),
        play.LayerCompleted(
            at=later(1.2),
            **step,
            state="SKIP",
            out=OUT,
            started_at=later(0.003),
            attempts=3,
            announced=True,
            error="HTTP 503",
            error_code="MODULE_ERROR",
            reused=True,
        ),
        play.LayerFailed(
            at=later(1.2),
            **step,
            error="HTTP 503",
            error_code="MODULE_ERROR",
            started_at=later(0.003),
            attempts=3,
            announced=True,
            reused=True,
        ),
        play.LayerIterating(
            at=later(0.004),
            **{**step, "iteration": (7,)},
            items=[1, {"n": 2}, "three"],
            batch_size=2,
            collects=("pay", "pay.amount"),
        ),
        play.ItemEnded(at=later(0.9), **{**step, "iteration": (7, 1)}, failed=True),
        play.LayerCollected(at=later(0.01), **step, key="pay.amount", items=[12, {"n": 2}, "three"]),
    ]
