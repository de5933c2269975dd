"""Relaying to where no client may reach: 403 and not one packet, on every path, over every transport and family."""

import os

import pytest

from edge_process import SECRET
from natlab import Addresses
from sniffer import Sniffer
from stun import (
    ADDITIONAL_FAMILY,
    ERROR,
    IPV6,
    REQUESTED_FAMILY,
    SUCCESS,
    TCP_TRANSPORT,
    TurnClient,
    Wire,
    classic_token,
)

A = Addresses

NEVER = {
    "loopback": "127.0.0.1",
    "loopback_far_end": "127.255.255.254",
    "multicast": "224.0.0.1",
    "multicast_far_end": "239.255.255.255",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "metadata": "169.254.169.254",
    "own_inside": A.EDGE_INSIDE,
    "own_outside_that_relays_nothing": A.EDGE_ALTERNATE,
    "this_network": "0.0.0.0",
    "this_network_far_end": "0.255.255.255",
    "private_10": "10.0.0.1",
    "private_10_beside_the_workers": "10.20.1.0",
    "shared": "100.64.0.1",
    "shared_far_end": "100.127.255.255",
    "link_local": "169.254.0.1",
    "private_172": "172.16.0.1",
    "private_172_far_end": "172.31.255.255",
    "protocol_assignments": "192.0.0.1",
    "private_192": "192.168.0.1",
    "benchmark": "198.18.0.1",
    "benchmark_far_end": "198.19.255.255",
    "v6_unspecified": "::",
    "v6_loopback": "::1",
    "v6_multicast": "ff02::1",
    "v6_own_inside": A.EDGE_INSIDE_6,
    "v6_unique_local": "fc00::1",
    "v6_unique_local_far_end": "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "v6_link_local": "fe80::1",
    "v6_site_local": "fec0::1",
    "v6_site_local_far_end": "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "mapped_loopback": "::ffff:127.0.0.1",
    "mapped_private": "::ffff:10.0.0.1",
    "mapped_worker": f"::ffff:{A.INSIDE}",
    "compatible_loopback": "::127.0.0.1",
    "compatible_worker": f"::{A.INSIDE}",
    "translated_loopback": "::ffff:0:127.0.0.1",
    "six_to_four_loopback": "2002:7f00:1::1",
    "six_to_four_private": "2002:c0a8:1::1",
    "nat64_loopback": "64:ff9b::127.0.0.1",
    "nat64_worker": f"64:ff9b::{A.INSIDE}",
    "nat64_metadata": "64:ff9b::169.254.169.254",
    "nat64_local_use": "64:ff9b:1::1",
    "teredo_private": "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # client 10.0.0.1, bits inverted
    "isatap_private": "2001:db8:99::200:5efe:c0a8:1",
    "isatap_loopback": "2001:db8:99::5efe:7f00:1",
}

WIRES = [("udp", 4), ("tcp", 4), ("tls", 4), ("udp", 6), ("tcp", 6), ("tls", 6)]
wires = pytest.mark.parametrize("transport, family", WIRES, ids=[f"{t}{f}" for t, f in WIRES])


@pytest.fixture
def client(lab, edge, transport, family):
    """A client with relayed addresses of both families."""
    client = edge.client(lab.host("peer"), "prober", transport, family)
    with client.wire:
        answer = client.allocate((ADDITIONAL_FAMILY, IPV6))
        assert answer.kind == SUCCESS
        yield client
        client.refresh(0)


@wires
def test_permissions_and_channels_for_forbidden_peers_get_403(client):
    wrong = {}
    for name, address in NEVER.items():
        for method, ask in (
            ("permission", lambda: client.permit(address)),
            ("channel", lambda: client.bind(0x4000, (address, 9))),
        ):
            answer = ask()
            if answer is None or (answer.kind, answer.error) != (ERROR, 403):
                wrong[name, method] = answer and (answer.error or "success")
    assert not wrong


@wires
def test_nothing_is_sent_to_forbidden_peers(lab, edge, client):
    marker = b"marker" + os.urandom(10)
    assert client.permit(A.PEER_SECOND).kind == SUCCESS
    with Sniffer(lab.host("edge")) as seen:
        for number, address in enumerate(NEVER.values()):
            client.send((address, 9), marker)
            client.send_channel(0x4000 + number, marker)
        # In order on one 5-tuple: once this one is out, the others were judged.
        done = b"done" + os.urandom(10)
        client.send((A.PEER_SECOND, 9), done)
        assert seen.holding(done, outgoing=True)
        assert not seen.holding(marker, outgoing=True)


@wires
def test_an_allowed_peer_among_forbidden_ones_gets_no_permission(lab, client):
    with lab.host("peer").socket() as peer:
        peer.bind((A.PEER_SECOND, 0))
        peer.settimeout(0.5)
        assert client.permit(A.PEER_SECOND, "127.0.0.1").error == 403
        client.send(peer.getsockname(), b"all or nothing")
        with pytest.raises(TimeoutError):
            peer.recv(100)


@wires
def test_a_relay_never_reaches_a_listener(lab, edge, client):
    """The relay address is a permitted peer, by live relay port alone."""
    own = {4: A.EDGE, 6: A.EDGE_6}
    assert client.permit(own[4]).kind == SUCCESS and client.permit(own[6]).kind == SUCCESS
    marker = b"marker" + os.urandom(10)
    with Sniffer(lab.host("edge")) as seen:
        for version, address in own.items():
            for port in (3478, 443, 9641, 50000 if client.relay[1] != 50000 else 50001):
                client.send((address, port), marker)
                assert client.bind(0x4001, (address, port)).error == 403, (address, port)
        client.refresh(600)
        assert not seen.holding(marker, outgoing=True)


@pytest.mark.parametrize("transport, family", [("tcp", 4), ("tls", 4), ("tcp", 6), ("tls", 6)])
def test_connect_to_forbidden_peers_gets_403_and_no_packet(lab, edge, transport, family):
    client = edge.client(lab.host("peer"), "connector", transport, family)
    relays = {4: [], 6: [(REQUESTED_FAMILY, IPV6)]}
    wrong = {}
    for version, attributes in relays.items():
        with edge.wire(lab.host("peer"), transport, family) as client.wire:
            client.nonce = None
            assert client.allocate(*attributes, transport=TCP_TRANSPORT).kind == SUCCESS
            with Sniffer(lab.host("edge")) as seen:
                for name, address in NEVER.items():
                    if (":" in address) == (version == 6):
                        answer = client.connect((address, 9))
                        if answer is None or answer.error != 403:
                            wrong[name] = answer and (answer.error or "success")
                for port in (3478, 443):
                    answer = client.connect(((A.EDGE if version == 4 else A.EDGE_6), port))
                    if answer is None or answer.error not in (403, 447):
                        wrong[f"own listener {version} {port}"] = answer and (answer.error or "success")
                seen.settle()
            from_relay = client.relay[1].to_bytes(2, "big")
            header = 20 if version == 4 else 40
            sent = [
                packet
                for packet in seen.packets
                if packet.outgoing
                and packet.data[0] >> 4 == version
                and packet.data[9 if version == 4 else 6] == 6
                and packet.data[header : header + 2] == from_relay
            ]
            assert not sent
    assert not wrong


def test_a_worker_inside_is_reached_only_by_its_own_address(lab, edge):
    client = edge.client(lab.host("peer"))
    with client.wire:
        assert client.allocate((ADDITIONAL_FAMILY, IPV6)).kind == SUCCESS
        assert client.permit(A.INSIDE).kind == SUCCESS
        assert client.permit(A.INSIDE_6).kind == SUCCESS


@pytest.mark.parametrize(
    "denied, refused, open_to",
    [
        ("203.0.113.30/31", ["203.0.113.30", "203.0.113.31"], ["203.0.113.29", "203.0.113.32"]),
        ("198.51.100.8/29", ["198.51.100.8", "198.51.100.15"], ["198.51.100.7", "198.51.100.16"]),
        ("10.20.0.20/32", ["10.20.0.20"], ["10.20.0.19", "10.20.0.21"]),
    ],
)
def test_denied_ranges_hold_at_their_edges_and_beat_allowed_ones(lab, start_edge, denied, refused, open_to):
    other = start_edge(
        {
            "edge": {
                "udp": [f"{A.EDGE_ALTERNATE}:3478"],
                "tcp": [],
                "tls": [],
                "relay": {"deny_peers": [denied], "addresses": [A.EDGE_ALTERNATE], "ports": "40000-40099"},
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        }
    )
    with Wire(lab.host("peer"), (A.EDGE_ALTERNATE, 3478)) as wire:
        client = TurnClient(wire, *classic_token(SECRET))
        assert client.allocate().kind == SUCCESS
        assert [client.permit(address).error for address in refused] == [403] * len(refused)
        assert [client.permit(address).error for address in open_to] == [None] * len(open_to)
        mapped = [f"::ffff:{address}" for address in refused]
        assert all(client.permit(address).error in (403, 443) for address in mapped)
        client.refresh(0)
    other.stop()
