"""Four shards act as one server: what one 5-tuple began another may continue, wherever the kernel hashes it."""

import os
import socket
import struct

import pytest

from edge_process import GENEROUS, await_that
from natlab import Addresses
from stun import (
    CONNECTION_BIND,
    CONNECTION_ID,
    EVEN_PORT,
    LIFETIME,
    MOBILITY_TICKET,
    REFRESH,
    RESERVATION_TOKEN,
    SUCCESS,
    TCP_TRANSPORT,
)

A = Addresses
# With four shards and random hashing, 24 pairs all on one shard each is a matter of 4 ** -24.
ROUNDS = 24


@pytest.fixture(scope="module")
def edge_changes():
    return {"edge": GENEROUS | {"shards": 4, "mobility": True, "auth": {"allocations_per_identity": 8}}}


def test_four_shards_turn(edge):
    metrics = edge.metrics()
    assert metrics.sum("postern_edge_shards") == metrics.sum("postern_edge_shards_turning") == 4
    assert edge.status("/healthz") == 200


def test_a_reservation_is_redeemed_from_any_5_tuple(lab, edge):
    for number in range(ROUNDS):
        one = edge.client(lab.host("peer"), f"reserver{number}")
        two = edge.client(lab.host("peer"), f"reserver{number}")
        with one.wire, two.wire:
            answer = one.allocate((EVEN_PORT, b"\x80"))
            assert answer.kind == SUCCESS
            token = answer.first(RESERVATION_TOKEN)
            assert two.allocate((RESERVATION_TOKEN, token)).kind == SUCCESS
            assert two.relay == (one.relay[0], one.relay[1] + 1)
            with lab.host("peer").socket() as peer:
                peer.bind((A.PEER, 0))
                peer.settimeout(2.0)
                assert two.bind(0x4000, peer.getsockname()).kind == SUCCESS
                two.send_channel(0x4000, b"rtcp")
                assert peer.recvfrom(100) == (b"rtcp", two.relay)
                peer.sendto(b"back", two.relay)
                assert two.receive(2.0) == (0x4000, b"back")
            one.refresh(0), two.refresh(0)


def test_a_reservation_is_redeemed_once(lab, edge):
    clients = [edge.client(lab.host("peer"), "once") for _ in range(4)]
    token = clients[0].allocate((EVEN_PORT, b"\x80")).first(RESERVATION_TOKEN)
    answers = [client.allocate((RESERVATION_TOKEN, token)) for client in clients[1:]]
    assert [answer.error for answer in answers] == [None, 508, 508]
    for client in clients:
        client.refresh(0)
        client.wire.close()


@pytest.mark.parametrize("transport, family", [("tcp", 4), ("tls", 4), ("tcp", 6)])
def test_connection_bind_finds_its_allocation_on_any_shard(lab, edge, transport, family):
    with lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((A.PEER, 0))
        listener.listen(50)
        listener.settimeout(3.0)
        for number in range(ROUNDS):
            control = edge.client(lab.host("crowd"), f"binder{number}", transport, family)
            with control.wire:
                assert control.allocate(transport=TCP_TRANSPORT).kind == SUCCESS
                connected = control.connect(listener.getsockname())
                assert connected.kind == SUCCESS
                connection = listener.accept()[0]
                data = edge.client(lab.host("crowd"), f"binder{number}", transport, family)
                data.username, data.password = control.username, control.password
                data.realm, data.nonce = control.realm, control.nonce
                with data.wire, connection:
                    bound = data.request(CONNECTION_BIND, [(CONNECTION_ID, connected.first(CONNECTION_ID))])
                    assert bound.kind == SUCCESS
                    connection.settimeout(3.0)
                    data.wire.send(b"through the pipe")
                    assert connection.recv(100) == b"through the pipe"
                    connection.sendall(b"and back")
                    got = data.wire.take_rest() or data.wire.socket.recv(100)
                    assert got == b"and back"


def test_a_mobile_client_keeps_its_allocation_on_any_5_tuple(lab, edge):
    with lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        peer.settimeout(2.0)
        for number in range(ROUNDS):
            client = edge.client(lab.host("crowd"), f"mobile{number}")
            answer = client.allocate((MOBILITY_TICKET, b""))
            assert answer.kind == SUCCESS
            ticket, relay = answer.first(MOBILITY_TICKET), client.relay
            assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
            client.wire.close()
            client.wire = edge.wire(lab.host("crowd"))
            client.nonce = None
            moved = client.request(REFRESH, [(LIFETIME, struct.pack("!I", 600)), (MOBILITY_TICKET, ticket)])
            assert moved.kind == SUCCESS, moved.error
            assert moved.first(MOBILITY_TICKET) not in (None, ticket)
            client.send_channel(0x4000, b"moved")
            assert peer.recvfrom(100) == (b"moved", relay)
            peer.sendto(b"found", relay)
            assert client.receive(2.0) == (0x4000, b"found")
            assert client.refresh(0).kind == SUCCESS
            client.wire.close()


def test_a_ticket_of_another_user_moves_nothing(lab, edge):
    owner, thief = edge.client(lab.host("crowd"), "owner"), edge.client(lab.host("crowd"), "thief")
    with owner.wire, thief.wire:
        ticket = owner.allocate((MOBILITY_TICKET, b"")).first(MOBILITY_TICKET)
        stolen = thief.request(REFRESH, [(LIFETIME, struct.pack("!I", 600)), (MOBILITY_TICKET, ticket)])
        assert stolen.error in (400, 403, 437, 441)
        assert owner.refresh(600).kind == SUCCESS
        owner.refresh(0)


def test_the_quota_holds_over_all_shards(lab, edge):
    clients = [edge.client(lab.host("peer"), "everywhere") for _ in range(8 + ROUNDS)]
    errors = [client.allocate().error for client in clients]
    assert errors == [None] * 8 + [486] * ROUNDS
    for client in clients:
        client.refresh(0)
        client.wire.close()


def test_mobility_does_not_escape_the_quota(lab, edge):
    clients = [edge.client(lab.host("peer"), "mover") for _ in range(8)]
    for client in clients:
        ticket = client.allocate((MOBILITY_TICKET, b"")).first(MOBILITY_TICKET)
        client.wire.close()
        client.wire = edge.wire(lab.host("peer"))
        client.nonce = None
        assert client.request(REFRESH, [(MOBILITY_TICKET, ticket)]).kind == SUCCESS
    late = edge.client(lab.host("peer"), "mover")
    assert late.allocate().error == 486
    for client in clients:
        assert client.refresh(0).kind == SUCCESS
    assert late.allocate().kind == SUCCESS
    for client in [*clients, late]:
        client.refresh(0)
        client.wire.close()


def test_clients_land_on_all_shards_and_media_between_them_flows(lab, edge):
    """Relay to relay across shards: each pair's sockets belong to whatever shards the kernel chose."""
    for number in range(ROUNDS):
        one, two = edge.client(lab.host("crowd"), f"one{number}"), edge.client(lab.host("peer"), f"two{number}")
        with one.wire, two.wire:
            assert one.allocate().kind == SUCCESS and two.allocate().kind == SUCCESS
            assert one.bind(0x4000, two.relay).kind == SUCCESS and two.bind(0x4001, one.relay).kind == SUCCESS
            payload = os.urandom(172)
            one.send_channel(0x4000, payload)
            assert two.receive(2.0) == (0x4001, payload)
            two.send_channel(0x4001, payload)
            assert one.receive(2.0) == (0x4000, payload)
            one.refresh(0), two.refresh(0)
    await_that(lambda: edge.metrics().sum("postern_edge_allocations") == 0, what="nothing left")
