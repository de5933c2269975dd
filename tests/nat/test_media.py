"""Media through every NAT of the lab: to an endpoint behind another one, relay to relay on one edge, and inside."""

import itertools
import struct

import pytest

from edge_process import SECRET
from natlab import KINDS, Addresses
from stun import SUCCESS, TurnClient, Wire, classic_token

A = Addresses
PACKETS = 40


def reaches_by(kind):
    """How an endpoint behind this kind of NAT reaches an edge: transport and family."""
    return {"udp-blocked": ("tls", 4), "ipv6-only": ("udp", 6)}.get(kind, ("udp", 4))


def client_behind(lab, edge, side, kind, server=None):
    transport, family = reaches_by(kind)
    host = lab.endpoint(side, kind)
    if server is None:
        return edge.client(host, f"{side}-{kind}", transport, family)
    wire = Wire(host, (server, 443 if transport == "tls" else 3478), transport)
    return TurnClient(wire, *classic_token(SECRET, f"{side}-{kind}"))


def rtp(number, ssrc):
    """A 20 ms packet of G.711, as a telephone sends them."""
    return struct.pack("!BBHII", 0x80, 0, number, number * 160, ssrc) + bytes([number & 0xFF]) * 160


def flows(one, other):
    """Sends a stream each way at once and returns what arrived: (at other, at one)."""
    arrived = ([], [])
    for number in range(PACKETS):
        one.send_channel(0x4000, rtp(number, 1))
        other.send_channel(0x4001, rtp(number, 2))
        for client, seen in ((other, arrived[0]), (one, arrived[1])):
            if (got := client.receive(2.0)) is not None:
                seen.append(got)
    return arrived


def join(one, other):
    """Both allocate and bind a channel to the other's relayed address."""
    assert one.allocate().kind == SUCCESS and other.allocate().kind == SUCCESS
    assert one.bind(0x4000, other.relay).kind == SUCCESS
    assert other.bind(0x4001, one.relay).kind == SUCCESS


PAIRS = [(a, b) for a, b in itertools.product(KINDS, KINDS)]


@pytest.mark.parametrize("a, b", PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
def test_media_flows_from_relay_to_relay_on_one_edge(lab, edge, a, b):
    one, other = client_behind(lab, edge, "a", a), client_behind(lab, edge, "b", b)
    with one.wire, other.wire:
        join(one, other)
        assert one.relay[0] == other.relay[0] == A.EDGE
        at_other, at_one = flows(one, other)
        assert at_other == [(0x4001, rtp(number, 1)) for number in range(PACKETS)]
        assert at_one == [(0x4000, rtp(number, 2)) for number in range(PACKETS)]
        one.refresh(0), other.refresh(0)


@pytest.mark.parametrize("kind", KINDS)
def test_media_flows_to_a_worker_inside_and_back(lab, edge, kind):
    client = client_behind(lab, edge, "a", kind)
    with client.wire, lab.host("inside").socket() as worker:
        worker.bind((A.INSIDE, 0))
        worker.settimeout(2.0)
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, worker.getsockname()).kind == SUCCESS
        for number in range(PACKETS):
            client.send_channel(0x4000, rtp(number, 3))
            packet, source = worker.recvfrom(2000)
            assert (packet, source) == (rtp(number, 3), client.relay), "the worker sees the relay address as source"
            worker.sendto(packet[::-1], source)
            assert client.receive(2.0) == (0x4000, packet[::-1])
        client.refresh(0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_edge_sees_the_address_that_the_nat_gives(lab, edge, kind):
    client = client_behind(lab, edge, "a", kind)
    with client.wire:
        assert client.allocate().kind == SUCCESS
        if kind == "ipv6-only":
            assert client.mapped == client.wire.local
        else:
            number = 100 + list(KINDS).index(kind)
            assert client.mapped[0] == f"203.0.113.{number}" and 20000 <= client.mapped[1] <= 29999
        client.refresh(0)


@pytest.fixture(scope="module")
def hidden_edge(lab, start_module_edge):
    """An edge behind a 1:1 NAT: it knows its public address by `advertise` alone."""
    lab.dmz()
    changes = {
        "udp": [f"{A.DMZ}:3478"],
        "tcp": [f"{A.DMZ}:3478"],
        "tls": [f"{A.DMZ}:443"],
        "advertise": {A.DMZ: A.DMZ_PUBLIC},
        "relay": {"addresses": [A.DMZ], "allow_peers": []},
    }
    return start_module_edge({"edge": changes}, host="dmz")


WITH_IPV4 = [kind for kind in KINDS if kind != "ipv6-only"]


@pytest.mark.parametrize("kind", WITH_IPV4)
def test_media_flows_from_relay_to_relay_on_an_edge_behind_a_nat(lab, hidden_edge, kind):
    one = client_behind(lab, hidden_edge, "a", kind, A.DMZ_PUBLIC)
    other = client_behind(lab, hidden_edge, "b", "symmetric", A.DMZ_PUBLIC)
    with one.wire, other.wire:
        join(one, other)
        assert one.relay[0] == other.relay[0] == A.DMZ_PUBLIC, "the public address is the one to name"
        at_other, at_one = flows(one, other)
        assert at_other == [(0x4001, rtp(number, 1)) for number in range(PACKETS)]
        assert at_one == [(0x4000, rtp(number, 2)) for number in range(PACKETS)]
        one.refresh(0), other.refresh(0)


@pytest.mark.parametrize("kind", WITH_IPV4)
def test_media_flows_to_a_host_outside_from_an_edge_behind_a_nat(lab, hidden_edge, kind):
    client = client_behind(lab, hidden_edge, "a", kind, A.DMZ_PUBLIC)
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        peer.settimeout(2.0)
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        for number in range(PACKETS):
            client.send_channel(0x4000, rtp(number, 3))
            packet, source = peer.recvfrom(2000)
            assert (packet, source) == (rtp(number, 3), client.relay)
            peer.sendto(packet, source)
            assert client.receive(2.0) == (0x4000, packet)
        client.refresh(0)
