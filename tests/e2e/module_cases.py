"""Args of modules with what they give (spec flow8 sections 17.1, 17.2 and 17.8), and args that they refuse."""

from tests.e2e.api import Json

ROWS: Json = [{"id": 1, "n": {"v": 10}}, {"id": 2, "n": {"v": 9}}, {"id": 3}, {"id": 1, "n": {"v": "100"}}]
HELLO_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

# appId → (args, output)
RESULTS: dict[str, list[tuple[Json, Json]]] = {
    "var": [
        ({"values": {"n": 1, "b": True, "x": None, "l": [1.5]}}, {"n": 1, "b": True, "x": None, "l": [1.5]}),
        ({"values": '{"from": "text"}'}, {"from": "text"}),
    ],
    "enumeration": [
        ({"from": 1, "to": 10}, {"items": list(range(1, 11)), "count": 10}),
        ({"from": 0, "to": 0.3, "step": 0.1}, {"items": [0, 0.1, 0.2, 0.3], "count": 4}),
        ({"from": 3, "to": 1, "step": -1}, {"items": [3, 2, 1], "count": 3}),
        ({"from": "1", "to": "2"}, {"items": [1, 2], "count": 2}),
        ({"from": 2, "to": 1}, {"items": [], "count": 0}),
    ],
    "router": [
        ({"routes": []}, {"route": ""}),
        (
            {"routes": [{"condition": "true", "label": "all"}, {"condition": "true", "label": "x"}]},
            {"route": "all"},
        ),
    ],
    "delay": [({"ms": 0}, {"ms": 0}), ({"ms": "5"}, {"ms": 5})],
    "log": [
        ({"message": "m", "level": level}, {"message": "m", "level": level})
        for level in ("debug", "warn", "error")
    ],
    "template": [
        ({"template": "Hi {{ .name }}", "data": {"name": "Ada"}}, {"result": "Hi Ada"}),
        ({"template": "{{ range .l }}<{{ . }}>{{ end }}", "data": {"l": [1, "b"]}}, {"result": "<1><b>"}),
        ({"template": "{{ if .no }}a{{ else }}b{{ end }}", "data": {}}, {"result": "b"}),
        ({"template": "{{ .missing }}!", "data": {}}, {"result": "!"}),
        ({"template": "plain"}, {"result": "plain"}),
    ],
    "base64-encode": [
        ({"input": "Grüße"}, {"result": "R3LDvMOfZQ=="}),
        ({"input": "Grüße??>", "urlSafe": True}, {"result": "R3LDvMOfZT8_Pg"}),
        ({"input": 42}, {"result": "NDI="}),
        ({"input": ""}, {"result": ""}),
    ],
    "base64-decode": [
        ({"input": "R3LDvMOfZQ=="}, {"result": "Grüße"}),
        ({"input": "R3LDvMOfZT8_Pg"}, {"result": "Grüße??>"}),
        ({"input": " R3LD\nvMOfZQ "}, {"result": "Grüße"}),
    ],
    "url-encode": [
        ({"input": "a b&c/ü"}, {"result": "a+b%26c%2F%C3%BC"}),
        ({"input": "a b+c", "style": "component"}, {"result": "a%20b%2Bc"}),
    ],
    "url-decode": [
        ({"input": "a+b%26c"}, {"result": "a b&c"}),
        ({"input": "a+b%20c", "style": "component"}, {"result": "a+b c"}),
    ],
    "regex": [
        ({"input": "a1", "pattern": "\\d"}, {"matched": True, "found": True}),
        ({"input": "a1", "pattern": "^\\d$", "operation": "match"}, {"matched": False, "found": False}),
        (
            {"input": "k=v", "pattern": "(?P<key>\\w)=(\\w)(x)?", "operation": "find"},
            {"match": "k=v", "groups": ["k", "v", None], "named": {"key": "k"}, "found": True},
        ),
        (
            {"input": "-", "pattern": "a", "operation": "find"},
            {"match": None, "groups": [], "found": False},
        ),
        (
            {"input": "a1 b2", "pattern": "([a-z])(\\d)", "operation": "findAll"},
            {"matches": ["a1", "b2"], "groups": [["a", "1"], ["b", "2"]], "found": True, "count": 2},
        ),
        (
            {"input": "x", "pattern": "\\d", "operation": "findAll"},
            {"matches": [], "found": False, "count": 0},
        ),
        (
            {
                "input": "a1",
                "pattern": "(?P<l>[a-z])(\\d)",
                "operation": "replace",
                "replacement": "$2${l}$$",
            },
            {"result": "1a$", "found": True},
        ),
        ({"input": "abc", "pattern": "x", "operation": "replace"}, {"result": "abc", "found": False}),
        (
            {"input": "a, b,c", "pattern": ",\\s*", "operation": "split"},
            {"parts": ["a", "b", "c"], "count": 3},
        ),
        ({"input": "AB\nab", "pattern": "^ab$", "flags": "im"}, {"matched": True, "found": True}),
        ({"input": "AB", "pattern": "ab"}, {"matched": False, "found": False}),
        (
            {"input": "<a><b>", "pattern": "<.*>", "operation": "find", "flags": "U"},
            {"match": "<a>", "groups": [], "found": True},
        ),
    ],
    "array-filter": [
        ({"items": [1, 5, 9], "condition": "{{ gt . 2 }}"}, {"items": [5, 9], "count": 2}),
        ({"items": ROWS, "condition": ".n"}, {"items": [ROWS[0], ROWS[1], ROWS[3]], "count": 3}),
        ({"items": "[1, 0]", "condition": "{{ . }}"}, {"items": [1], "count": 1}),
        ({"items": [], "condition": "true"}, {"items": [], "count": 0}),
    ],
    "array-map": [
        ({"items": [1, 2], "expression": "{{ mul . 2 }}"}, {"items": [2, 4], "count": 2}),
        (
            {"items": ROWS[:2], "expression": "#{{ .id }}: {{ .n.v }}"},
            {"items": ["#1: 10", "#2: 9"], "count": 2},
        ),
        (
            {"items": [1], "expression": {"n": "{{ . }}", "c": [True]}},
            {"items": [{"n": 1, "c": [True]}], "count": 1},
        ),
    ],
    "array-sort": [
        ({"items": [10, "9", 1.5, "b", "a", None]}, {"items": [1.5, "9", 10, "a", "b", None], "count": 6}),
        ({"items": [1, 3, 2], "order": "desc"}, {"items": [3, 2, 1], "count": 3}),
        ({"items": ROWS, "by": "n.v"}, {"items": [ROWS[1], ROWS[0], ROWS[3], ROWS[2]], "count": 4}),
        (
            {"items": ROWS, "by": "n.v", "order": "desc"},
            {"items": [ROWS[3], ROWS[0], ROWS[1], ROWS[2]], "count": 4},
        ),
    ],
    "array-unique": [
        ({"items": [1, 1.0, "1", [1], [1.0], None, None]}, {"items": [1, "1", [1], None], "count": 4}),
        ({"items": ROWS, "by": "id"}, {"items": ROWS[:3], "count": 3}),
    ],
    "json-parse": [
        ({"input": '[1, {"a": null}]'}, {"result": [1, {"a": None}]}),
        ({"input": {"already": 1}}, {"result": {"already": 1}}),
        ({"input": '"text"'}, {"result": "text"}),
    ],
    "json-stringify": [
        ({"input": {"a": [1, None, "ü"]}}, {"result": '{"a":[1,null,"ü"]}'}),
        ({"input": {"a": 1}, "indent": 2}, {"result": '{\n  "a": 1\n}'}),
        ({"input": "text"}, {"result": '"text"'}),
    ],
    "csv-parse": [
        (
            {"input": 'a,b\n1,"x, y"\n2'},
            {"rows": [{"a": "1", "b": "x, y"}, {"a": "2", "b": None}], "columns": ["a", "b"], "count": 2},
        ),
        (
            {"input": "1;2\n\n3;4", "delimiter": ";", "header": False},
            {"rows": [["1", "2"], ["3", "4"]], "columns": [], "count": 2},
        ),
        (
            {"input": "1\t2", "delimiter": "\t", "header": False, "columns": ["a", "b"]},
            {"rows": [{"a": "1", "b": "2"}], "columns": ["a", "b"], "count": 1},
        ),
        (
            {"input": "old,names\n1,2", "columns": ["a", "b"]},
            {"rows": [{"a": "1", "b": "2"}], "columns": ["a", "b"], "count": 1},
        ),
        ({"input": ""}, {"rows": [], "columns": [], "count": 0}),
    ],
    "csv-generate": [
        (
            {"rows": [{"a": 1, "b": 'x, "y"'}, {"c": True}]},
            {"result": 'a,b,c\r\n1,"x, ""y""",\r\n,,true\r\n', "count": 2},
        ),
        (
            {"rows": [{"a": 1, "b": 2}], "columns": ["b"], "header": False, "delimiter": ";"},
            {"result": "2\r\n", "count": 1},
        ),
        ({"rows": [[1, None], [{"k": 1}, "x"]]}, {"result": '1,\r\n"{""k"":1}",x\r\n', "count": 2}),
    ],
    "xpath": [
        (
            {"input": "<o><i s='1'>a</i><i>b</i></o>", "expression": "//i"},
            {"matches": ["a", "b"], "first": "a", "count": 2},
        ),
        ({"input": "<o/>", "expression": "//i"}, {"matches": [], "first": None, "count": 0}),
        ({"input": "<o><i/><i/></o>", "expression": "count(//i)"}, {"matches": [2], "first": 2, "count": 1}),
        (
            {"input": "<p>one<p>two", "expression": "//p", "format": "html"},
            {"matches": ["one", "two"], "first": "one", "count": 2},
        ),
        (
            {
                "input": "<a:o xmlns:a='urn:x'><a:i>1</a:i></a:o>",
                "expression": "//n:i",
                "namespaces": {"n": "urn:x"},
            },
            {"matches": ["1"], "first": "1", "count": 1},
        ),
    ],
    "xml-parse": [
        (
            {"input": "<o k='1'>t<i>a</i><i>b</i><e/></o>"},
            {"result": {"o": {"@k": "1", "i": ["a", "b"], "e": None, "#text": "t"}}},
        ),
    ],
    "hash": [
        ({"input": "hello"}, {"result": HELLO_SHA256}),
        ({"input": "aGVsbG8=", "inputEncoding": "base64"}, {"result": HELLO_SHA256}),
        (
            {"input": "68656c6c6f", "inputEncoding": "hex", "encoding": "base64"},
            {"result": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="},
        ),
        (
            {"input": "hello", "encoding": "base64url"},
            {"result": "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"},
        ),
        ({"input": "hello", "algorithm": "md5"}, {"result": "5d41402abc4b2a76b9719d911017c592"}),
    ],
    "hmac": [
        (
            {"input": "x", "key": "k", "algorithm": "sha1"},
            {"result": "cb00131fcec602a8fc84413a2a70154d8c06a0d2"},
        ),
        (
            {"input": "x", "key": "aw==", "keyEncoding": "base64", "algorithm": "sha1"},
            {"result": "cb00131fcec602a8fc84413a2a70154d8c06a0d2"},
        ),
        (
            {
                "input": "x",
                "key": "k",
                "algorithm": "sha1",
                "expected": "sha1=CB00131FCEC602A8FC84413A2A70154D8C06A0D2",
            },
            {"valid": True},
        ),
        (
            {
                "input": "y",
                "key": "k",
                "algorithm": "sha1",
                "expected": "cb00131fcec602a8fc84413a2a70154d8c06a0d2",
            },
            {"valid": False},
        ),
    ],
}

KEY = "000102030405060708090a0b0c0d0e0f"
# appId → (args, what the sentence says)
FAULTS: dict[str, list[tuple[Json, str]]] = {
    "var": [({}, "`values`"), ({"values": [1]}, "arg values"), ({"values": "text"}, "arg values")],
    "enumeration": [
        ({"to": 2}, "`from`"),
        ({"from": 1, "to": 2, "step": 0}, "step"),
        ({"from": 1, "to": 100_001}, "100,000"),
        ({"from": "a", "to": 2}, "arg from"),
    ],
    "router": [({"routes": "x"}, "arg routes"), ({"routes": [{"label": "a"}]}, "`condition`")],
    "iterator": [({"items": [1], "batchSize": 0}, "arg batchSize")],
    "delay": [({"ms": -1}, "arg ms"), ({"ms": "soon"}, "arg ms"), ({"ms": 10**12}, "arg ms")],
    "log": [({"message": "m", "level": "fatal"}, "arg level"), ({"message": "m" * 20_000}, "arg message")],
    "template": [({"template": ["x"]}, "arg template")],
    "base64-decode": [({"input": "*"}, "not base64"), ({"input": "/w=="}, "UTF-8")],
    "url-encode": [({"input": "a", "style": "path"}, "arg style")],
    "url-decode": [({"input": "%zz"}, "two hex digits"), ({"input": "%ff"}, "UTF-8")],
    "regex": [
        ({"input": "a", "pattern": "a", "operation": "search"}, "arg operation"),
        ({"input": "a", "pattern": "a", "flags": "g"}, "arg flags"),
    ],
    "array-filter": [({"items": {"a": 1}, "condition": "true"}, "arg items")],
    "array-sort": [({"items": [1], "order": "up"}, "arg order"), ({"items": "x"}, "arg items")],
    "array-unique": [({}, "`items`")],
    "json-parse": [({"input": "{"}, "not valid JSON"), ({"input": "[" * 200 + "]" * 200}, "128 deep")],
    "json-stringify": [({"input": 1, "indent": 99}, "arg indent")],
    "csv-parse": [
        ({"input": "a,a\n1,2"}, "same name"),
        ({"input": "a\n1,2"}, "2 cells"),
        ({"input": "a", "delimiter": "::"}, "arg delimiter"),
    ],
    "csv-generate": [({"rows": ["text"]}, "arg rows[0]")],
    "xpath": [
        ({"input": "<a", "expression": "//a"}, "xpath"),
        ({"input": "<a/>", "expression": "//["}, "xpath"),
    ],
    "xml-parse": [
        ({"input": "<a>"}, "xml-parse"),
        ({"input": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'}, "xml-parse"),
    ],
    "hash": [
        ({"input": "x", "algorithm": "crc32"}, "arg algorithm"),
        ({"input": "x", "inputEncoding": "hex"}, "arg input"),
    ],
    "hmac": [
        ({"input": "x", "key": ""}, "arg key"),
        ({"input": "x", "key": "*", "keyEncoding": "base64"}, "arg key"),
    ],
    "aes-gcm-encrypt": [
        ({"input": "x", "key": "c2hvcnQ="}, "16, 24 or 32"),
        ({"input": "x", "key": "*"}, "arg key"),
    ],
    "aes-gcm-decrypt": [({"input": "x", "key": KEY, "keyEncoding": "hex"}, "key and context")],
    "jwt-sign": [
        ({"claims": {}, "key": "k", "algorithm": "none"}, "arg algorithm"),
        ({"claims": {}, "key": "k", "algorithm": "RS256"}, "does not fit RS256"),
        ({"claims": [], "key": "k"}, "arg claims"),
        ({"claims": {}, "key": "k", "expiresIn": 0}, "arg expiresIn"),
    ],
    "jwt-verify": [
        ({"token": "a.b.c", "key": "k", "algorithm": "none"}, "arg algorithm"),
        ({"token": "a.b.c", "key": "k", "algorithm": "RS256"}, "does not fit RS256"),
    ],
    "curl": [
        ({}, "`url`"),
        ({"url": "ftp://example.com"}, "http:// or https://"),
        ({"url": "http://127.0.0.1:9", "method": "TRACE"}, "arg method"),
        ({"url": "http://127.0.0.1:9", "body": 1, "bodyForm": {}}, "not both"),
        ({"url": "http://127.0.0.1:9", "basicAuth": {"user": "a"}}, "`pass`"),
        ({"url": "http://127.0.0.1:9", "timeout": -1}, "arg timeout"),
        ({"url": "http://127.0.0.1:9", "headers": {"a b": 1}}, "header name"),
        ({"url": "http://127.0.0.1:9", "headers": {"a": "x\ny"}}, "line break"),
        ({"url": "http://127.0.0.1:9", "query": [1]}, "arg query"),
        ({"url": "http://127.0.0.1:9", "responseType": "xml"}, "arg responseType"),
        ({"url": "http://127.0.0.1:9/" + "a" * 9_000}, "8192"),
    ],
    "subflow": [
        ({}, "`flowId`"),
        ({"flowId": "nobody"}, "nobody"),
        ({"flowId": "x", "timeout": 0}, "arg timeout"),
    ],
    "storage-write": [
        ({"path": "a", "content": "*", "encoding": "base64"}, "not base64"),
        ({"path": "../a", "content": "x"}, "storage-write"),
    ],
    "storage-list": [({"path": "", "pattern": ""}, "arg pattern")],
    "kv-set": [({"key": "k"}, "`value`"), ({"key": "k", "value": 1, "scope": "company"}, "arg scope")],
}
