"""The guard: which addresses a module may reach."""

import socket

import pytest

from services.executor.modules.outbound import OutboundGuard


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert OutboundGuard("").allows(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_no_other_address_is_allowed(address: str) -> None:
    assert not OutboundGuard("").allows(address)


@pytest.mark.parametrize(
    ("allow", "address", "host"),
    [
        ("127.0.0.1", "127.0.0.1", "x"),
        (" 10.1.0.0/16 , 192.168.0.0/24", "192.168.0.7", "x"),
        ("10.1.2.3/16", "10.1.9.9", "x"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", "x"),
        ("::1", "::1", "x"),
        ("[::1]", "::1", "x"),
        ("fd00::/8", "fd00::5", "x"),
        ("Db.Internal.", "10.0.0.5", "db.internal"),
        ("db.internal", "10.0.0.5", "DB.internal."),
        ("0.0.0.0/0,::/0", "127.0.0.1", "x"),
    ],
)
def test_what_is_named_is_allowed(allow: str, address: str, host: str) -> None:
    assert OutboundGuard(allow).allows(address, host=host)


@pytest.mark.parametrize(
    ("allow", "address", "host"),
    [
        ("127.0.0.1", "127.0.0.2", "x"),
        ("db.internal", "10.0.0.5", "evil.db.internal"),
        ("db.internal", "10.0.0.5", "internal"),
        ("db.internal", "10.0.0.5", ""),
        ("", "10.0.0.5", ""),
        (",", "10.0.0.5", ""),
    ],
)
def test_what_is_not_named_stays_forbidden(allow: str, address: str, host: str) -> None:
    assert not OutboundGuard(allow).allows(address, host=host)


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/99", "10.0.0", "1.2.3.4.5", "host/24", "http://host", "host:80", "."]
)
def test_an_entry_that_means_nothing_stops_the_start(entry: str) -> None:
    with pytest.raises(SystemExit, match="HEADRACE_OUTBOUND_ALLOW"):
        OutboundGuard(f"example.com,{entry}")


def test_a_socket_for_a_forbidden_address_is_never_made() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 80))
    with pytest.raises(PermissionError):
        OutboundGuard("").open_socket(info)


def test_a_socket_without_a_known_host_is_judged_by_its_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 80))
    with OutboundGuard("10.0.0.1").open_socket(info) as opened:
        assert opened.family == socket.AF_INET
