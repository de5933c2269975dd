"""Each NAT of the lab is of the kind it claims, found by coturn's RFC 5780 client and server."""

import re
import socket

import pytest

from discovery import discover_from_everywhere
from edge_process import await_that
from natlab import KINDS, Addresses
from stun import Wire, binding

A = Addresses


@pytest.fixture(scope="module")
def stun_server(lab, tool, tmp_path_factory):
    """coturn with two addresses of each family and two ports, which is what RFC 5780 takes."""
    host = lab.host("stun")
    addresses = (A.STUN, A.STUN_ALTERNATE, A.STUN_6, A.STUN_ALTERNATE_6)
    command = [
        *(tool("turnserver"), "-n", "--log-file=stdout", "--no-cli", "--stun-only", "--no-tls", "--no-dtls"),
        f"--pidfile={tmp_path_factory.mktemp('stun') / 'pid'}",
        *(f"--listening-ip={address}" for address in addresses),
    ]
    with open("/dev/null", "wb") as nothing:
        process = host.start(*command, stdout=nothing, stderr=nothing)

    def listening():
        assert process.poll() is None
        lines = host.run("ss", "-Hlnu").stdout
        return all(re.search(rf"{re.escape(address)}\]?:3479\b", lines) for address in addresses)

    await_that(listening, what="coturn on its four addresses")
    yield host
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def discovered(lab, stun_server, tool):
    return discover_from_everywhere(lab, tool("turnutils_natdiscovery"), A.STUN, A.STUN_6)


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_independent_client_finds_the_kind_that_is_claimed(discovered, kind, side):
    assert discovered[side, kind.name] == (kind.mapping, kind.filtering)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("udp-blocked", "ipv6-only")])
def test_addresses_and_ports_are_translated(lab, stun_server, kind):
    with Wire(lab.endpoint("a", kind), (A.STUN, 3478)) as wire:
        mapped = binding(wire).address(0x20)
        assert mapped[0].startswith("203.0.113.") and mapped[0] != wire.local[0]
        assert 20000 <= mapped[1] <= 29999 and mapped[1] != wire.local[1]


def test_a_symmetric_nat_draws_its_ports_at_random(lab, stun_server):
    ports = []
    for _ in range(12):
        with Wire(lab.endpoint("a", "symmetric"), (A.STUN, 3478)) as wire:
            ports.append(binding(wire).address(0x20)[1])
    steps = {b - a for a, b in zip(ports, ports[1:])}
    assert len(set(ports)) >= 11 and len(steps) >= 9


def test_a_mapping_is_needed_before_a_stranger_gets_through(lab, stun_server):
    """Endpoint-independent filtering is learned from what was sent: an unused outer port stays closed."""
    host, stranger = lab.endpoint("a", "endpoint-independent"), lab.host("peer")
    with host.socket() as inner, stranger.socket() as outer:
        inner.settimeout(1.0)
        inner.bind(("0.0.0.0", 0))
        outer.sendto(b"too early", ("203.0.113.100", inner.getsockname()[1]))
        with pytest.raises(TimeoutError):
            inner.recvfrom(100)


def test_a_double_nat_translates_twice(lab, stun_server):
    host, middle = lab.endpoint("a", "double"), lab.host("a-double-nat")
    with middle.socket() as listener, host.socket() as inner:
        listener.bind(("100.64.104.1", 9000))
        listener.settimeout(2.0)
        inner.sendto(b"half way", ("100.64.104.1", 9000))
        half_way = listener.recvfrom(100)[1]
        assert half_way[0] == "100.64.104.2"
    with Wire(host, (A.STUN, 3478)) as wire:
        assert binding(wire).address(0x20)[0] == "203.0.113.104"


def test_where_udp_is_blocked_only_tcp_443_gets_out(lab):
    host, outside = lab.endpoint("a", "udp-blocked"), lab.host("peer")
    reached = {}
    for port in (443, 3478, 80):
        with outside.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((A.PEER, port))
            listener.listen()
            with host.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.settimeout(1.5)
                try:
                    client.connect((A.PEER, port))
                    reached[port] = True
                except TimeoutError:
                    reached[port] = False
    assert reached == {443: True, 3478: False, 80: False}


def test_an_ipv6_only_endpoint_has_no_ipv4(lab):
    host = lab.endpoint("a", "ipv6-only")
    assert host.run("ip", "-4", "route").stdout == ""
    with host.socket() as client, pytest.raises(OSError, match="unreachable"):
        client.connect((A.EDGE, 3478))
