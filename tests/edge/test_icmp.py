"""ICMP from peers: told to the client, and never at another peer's cost."""

import struct
import time

import pytest

from edge_process import await_that
from natlab import Addresses
from stun import DATA, DONT_FRAGMENT, ICMP, IPV6, INDICATION, REQUESTED_FAMILY, SUCCESS, XOR_PEER_ADDRESS, decode

A = Addresses


def icmp(message):
    """Type, code and error data (RFC 8656 section 18.13: 16 bits reserved, 7 of type, 9 of code, 32 of data)."""
    both, data = struct.unpack("!2xHI", message.first(ICMP))
    return both >> 9, both & 0x1FF, data


@pytest.mark.parametrize("family", [4, 6])
def test_a_dead_peer_costs_its_neighbour_nothing_and_is_told_of(lab, edge, family):
    """1,000 datagrams to a living and a closed port of two permitted peers, in turn."""
    client = edge.client(lab.host("crowd"), "caller", family=family)
    address = A.PEER if family == 4 else A.PEER_6
    attributes = [] if family == 4 else [(REQUESTED_FAMILY, IPV6)]
    with client.wire, lab.host("peer").socket(2 if family == 4 else 10) as alive:
        alive.bind((address, 0))
        alive.setblocking(False)
        dead = (address, 9)
        assert client.allocate(*attributes).kind == SUCCESS
        assert client.bind(0x4000, alive.getsockname()[:2]).kind == SUCCESS
        assert client.bind(0x4001, dead).kind == SUCCESS
        got, told, echoed, started = set(), [], 0, time.monotonic()
        for number in range(1000):
            client.send_channel(0x4001, b"is anybody there")
            client.send_channel(0x4000, struct.pack("!I", number))

            def arrived():
                try:
                    got.add(struct.unpack("!I", alive.recv(100))[0])
                except BlockingIOError:
                    pass
                return number in got

            await_that(arrived, timeout=2.0, what=f"datagram {number}", interval=0.0005)
            alive.sendto(struct.pack("!I", number), client.relay)
            while (frame := client.wire.receive(2.0)) is not None:
                if frame[0] & 0xC0 == 0x40:
                    echoed += 1
                    break
                told.append(decode(frame))
        took = time.monotonic() - started
        assert (len(got), echoed) == (1000, 1000)
        assert 1 <= len(told) <= 10 * (took + 1)
        for message in told:
            assert (message.method, message.kind) == (DATA, INDICATION)
            assert message.address(XOR_PEER_ADDRESS)[0] == address
            assert icmp(message)[:2] == ((3, 3) if family == 4 else (1, 4))
        client.refresh(0)


def test_a_datagram_that_may_not_be_fragmented_and_is_too_long_is_told_of(lab, edge):
    """The path to the peer is narrowed beyond the edge's own link."""
    edge_host, marker = lab.host("edge"), bytes(1300)
    edge_host.batch(f"route add {A.PEER_SECOND}/32 dev eth0 mtu lock 1000")
    client = edge.client(lab.host("crowd"), "caller")
    try:
        with client.wire, lab.host("peer").socket() as peer:
            peer.bind((A.PEER_SECOND, 0))
            peer.settimeout(2.0)
            assert client.allocate().kind == SUCCESS and client.permit(A.PEER_SECOND).kind == SUCCESS
            client.send(peer.getsockname(), marker, (DONT_FRAGMENT, b""))
            assert icmp(decode(client.wire.receive(2.0))) == (3, 4, 1000)
            client.send(peer.getsockname(), marker)
            assert peer.recvfrom(2000)[0] == marker, "without the attribute it is fragmented"
            client.refresh(0)
    finally:
        edge_host.batch(f"route del {A.PEER_SECOND}/32")


def test_icmp_about_a_peer_without_permission_is_not_passed_on(lab, edge):
    client = edge.client(lab.host("crowd"), "caller")
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        assert client.allocate().kind == SUCCESS
        client.send((A.PEER, 9), b"no permission")
        assert client.wire.receive(0.5) is None
        client.refresh(0)
