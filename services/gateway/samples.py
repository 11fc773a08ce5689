"""Examples for the documents: bodies as somebody would write them, answers made up from their types."""

from typing import Any

import msgspec
from msgspec import inspect

AT = "2026-03-14T09:26:53Z"
ID = "69b52a3d0c1f5e8a90000001"

# What fields of these names look like, wherever they are.
NAMED: dict[str, Any] = {
    "id": "69b52a3d0c1f5e8a90000003",
    "companyId": ID,
    "userId": "69b52a3d0c1f5e8a90000002",
    "flowId": "69b52a3d0c1f5e8a90000003",
    "layerId": "69b52a3d0c1f5e8a90000004",
    "playId": "69b52a3d0c1f5e8a90000005",
    "lastPlayId": "69b52a3d0c1f5e8a90000005",
    "groupId": "69b52a3d0c1f5e8a90000006",
    "scheduleId": "69b52a3d0c1f5e8a90000007",
    "keyId": "69b52a3d0c1f5e8a90000008",
    "entityId": "69b52a3d0c1f5e8a90000003",
    "by": "69b52a3d0c1f5e8a90000002",
    "permanentId": "invoice-check",
    "name": "Invoice check",
    "category": "finance",
    "email": "ada@example.test",
    "role": "editor",
    "kvInherit": "true",
    "kvConflict": "child",
    "ref": "sum",
    "appId": "var",
    "args": {"net": 100},
    "state": "DONE",
    "out": {"gross": 119},
    "error": None,
    "errorCode": None,
    "failedAt": None,
    "failedRef": None,
    "parentPlayId": None,
    "hold": None,
    "replayOf": None,
    "unlisted": {"price": {"DONE": 240}},
    "duration": 12,
    "trigger": "api",
    "token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
    "password": None,
    "scope": "global",
    "scopeKey": None,
    "key": "rate",
    "value": {"EUR": 1.08},
    "scopes": ["standard"],
    "permissions": ["read", "run"],
    "warnings": [],
    "filters": [],
    "status": "healthy",
    "version": 3,
    "change": "updated",
    "path": "execution.timeout",
    "before": None,
    "after": 600,
    "action": "flow.update",
    "entityType": "flow",
    "requestId": "9c1e5d0fa6b24b7c8d3e2f1a0b9c8d7e",
    "ip": "192.0.2.7",
    "userAgent": "curl/8.5.0",
    "note": "",
    "cron": "0 6 * * 1-5",
    "every": None,
    "timezone": "Europe/Berlin",
    "misfirePolicy": "skip",
    "overlapPolicy": "allow",
    "exclusions": ["2026-12-25"],
    "kind": "delay",
    "why": "delay",
    "authMode": "header_token",
    "hmacStyle": None,
    "hmacToleranceSeconds": 300,
    "port": 7701,
    "httpMethod": "POST",
    "toolName": None,
    "description": "",
    "inputSchema": None,
    "targetFlowIds": ["69b52a3d0c1f5e8a90000003"],
    "responseMode": "sync",
    "timeoutSeconds": 30,
}

# Bodies, by the name of their struct.
BODIES: dict[str, Any] = {
    "Credentials": {"email": "ada@example.test", "password": "correct horse battery staple"},
    "KeyFields": {"name": "build server", "scopes": ["standard"]},
    "Login": {"email": "ada@example.test", "password": "correct horse battery staple"},
    "Registration": {
        "email": "ada@example.test",
        "password": "correct horse battery staple",
        "username": "ada",
        "name": "Ada",
    },
    "RefreshBody": {"refresh_token": "b3BhcXVl"},
    "JobFields": {"app_id": ID, "board_id": "invoice-check", "version": "latest", "payload": {"net": 100}},
    "ExecutionFields": {"app_id": ID, "board_id": "invoice-check", "payload": {"net": 100}, "mode": "sync"},
    "InvokeFields": {"payload": {"net": 100}},
    "UserPatch": {"name": "Ada Lovelace", "description": "Analyst"},
    "NewPat": {"name": "build server", "permissions": 1, "valid_until": "2027-01-31T00:00:00Z"},
    "NewUser": {"email": "ada@example.test", "name": "Ada", "role": "editor"},
    "UserFields": {"role": "operator"},
    "NewPassword": {},
    "OwnPassword": {"oldPassword": "correct horse", "newPassword": "correct horse battery staple"},
    "FlowFields": {"name": "Invoice check", "category": "finance", "execution": {"timeout": 600}},
    "LayerFields": {
        "name": "Sum",
        "ref": "sum",
        "appId": "var",
        "index": 0,
        "args": {"values": {"gross": "{{ mul $prev.args.net 1.19 }}"}},
    },
    "RunFields": {"args": {"net": 100}, "idempotencyKey": "invoice-4711"},
    "ApproveFields": {"layerId": "sign", "decision": "approved", "note": "looks right"},
    "PlayNote": {"note": "until the audit is over"},
    "ReplayFields": {"fromRef": "sum", "args": {"net": 100}, "idempotencyKey": "invoice-4711-again"},
    "GroupFields": {"name": "Finance"},
    "SetFields": {"key": "rate", "value": {"EUR": 1.08}},
    "AppendFields": {"key": "customers", "value": "Ada"},
    "IncrementFields": {"key": "invoices", "by": 1},
    "BodyFields": {
        "name": "Every weekday",
        "flowId": "invoice-check",
        "cron": "0 6 * * 1-5",
        "timezone": "Europe/Berlin",
        "args": {"net": 100},
    },
    "ChannelFields": {
        "name": "Orders",
        "kind": "http",
        "authMode": "header_token",
        "authToken": "orders-4711",
    },
    "RouteFields": {
        "name": "New order",
        "httpMethod": "POST",
        "path": "/orders/:shop",
        "targetFlowIds": ["invoice-check"],
        "responseMode": "sync",
        "timeoutSeconds": 30,
    },
    "AppWish": {"name": "Invoices", "description": "Counts them", "tags": ["finance"]},
    "MetaFields": {"name": "Invoices", "description": "Counts them"},
    "VisibilityWish": {"visibility": "Prototype"},
    "RoleWish": {"name": "Writer", "permissions": 128},
    "InviteWish": {"sub": "69b52a3d0c1f5e8a90000002"},
    "JoinWish": {"message": "May I?"},
    "NewAppKey": {"name": "ci"},
    "ReviewWish": {"rating": 5, "text": "Counts well"},
    "DecisionWish": {"status": "ACCEPTED", "message": "Fine"},
    "NoteFields": {"note": "until the audit is over"},
    "BackfillFields": {"from": "2026-03-01T00:00:00Z", "to": "2026-03-08T00:00:00Z", "parallel": False},
}


def body(kind: type[msgspec.Struct]) -> Any:
    """Return an example of a body."""
    return BODIES[kind.__name__] if kind.__name__ in BODIES else of(kind)


def of(kind: Any) -> Any:
    """Return an example of a type, as JSON."""
    return _of(inspect.type_info(kind))


def _of(info: inspect.Type) -> Any:
    match info:
        case inspect.StructType():
            return {field.encode_name: _field(field) for field in info.fields}
        case inspect.UnionType():
            return _of(next(part for part in info.types if not isinstance(part, inspect.NoneType)))
        case inspect.LiteralType():
            return info.values[0]
        case inspect.ListType() | inspect.VarTupleType():
            return [_of(info.item_type)]
        case inspect.TupleType():
            return [_of(part) for part in info.item_types]
        case inspect.DateTimeType():
            return AT
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 1
        case inspect.FloatType():
            return 1.5
        case inspect.StrType():
            return "text"
        case inspect.NoneType():
            return None
        case _:
            return {}


def _field(field: inspect.Field) -> Any:
    if field.encode_name in NAMED:
        named = NAMED[field.encode_name]
        if _fits(named, field.type):
            return named
    return _of(field.type)


def _fits(value: Any, info: inspect.Type) -> bool:
    parts = info.types if isinstance(info, inspect.UnionType) else (info,)
    kinds: dict[type[inspect.Type], type | tuple[type, ...]] = {
        inspect.StrType: str,
        inspect.IntType: int,
        inspect.BoolType: bool,
        inspect.NoneType: type(None),
        inspect.DictType: dict,
        inspect.ListType: list,
        inspect.VarTupleType: list,
        inspect.AnyType: object,
    }
    return any(isinstance(value, kinds.get(type(part), ())) for part in parts)
