"""TCP allocations (RFC 6062): pipes that lose nothing and wait for their slower side."""

import hashlib
import os
import socket
import threading
import time

import pytest

from edge_process import await_that
from natlab import Addresses
from stun import (
    CONNECTION_ATTEMPT,
    CONNECTION_BIND,
    CONNECTION_ID,
    ERROR,
    INDICATION,
    SUCCESS,
    TCP_TRANSPORT,
    XOR_PEER_ADDRESS,
    decode,
)

A = Addresses
wires = pytest.mark.parametrize("transport, family", [("tcp", 4), ("tls", 4), ("tcp", 6), ("tls", 6)])


@pytest.fixture
def control(lab, edge, transport, family):
    client = edge.client(lab.host("crowd"), "piper", transport, family, timeout=10.0)
    with client.wire:
        assert client.allocate(transport=TCP_TRANSPORT).kind == SUCCESS
        yield client


@pytest.fixture
def listener(lab):
    with lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((A.PEER, 0))
        listener.listen()
        listener.settimeout(5.0)
        yield listener


def bound(lab, edge, control, transport, family, connection_id):
    """A data connection joined to the peer's connection."""
    data = edge.client(lab.host("crowd"), "piper", transport, family, timeout=10.0)
    data.username, data.password = control.username, control.password
    data.realm, data.nonce = control.realm, control.nonce
    answer = data.request(CONNECTION_BIND, [(CONNECTION_ID, connection_id)])
    return data, answer


@wires
def test_a_megabyte_each_way_arrives_whole(lab, edge, control, listener, transport, family):
    answer = control.connect(listener.getsockname())
    assert answer.kind == SUCCESS
    peer = listener.accept()[0]
    data, joined = bound(lab, edge, control, transport, family, answer.first(CONNECTION_ID))
    assert joined.kind == SUCCESS
    out, back = os.urandom(1 << 20), os.urandom(1 << 20)
    with peer, data.wire:
        for sender, receiver, payload in ((data.wire.socket, peer, out), (peer, data.wire.socket, back)):
            receiver.settimeout(10)
            sending = threading.Thread(target=sender.sendall, args=(payload,))
            sending.start()
            got = b""
            while len(got) < len(payload):
                piece = receiver.recv(65536)
                assert piece, "closed early"
                got += piece
            sending.join()
            assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()


@wires
def test_a_full_pipe_stops_the_sender_and_drops_nothing(lab, edge, control, listener, transport, family):
    answer = control.connect(listener.getsockname())
    peer = listener.accept()[0]
    data, joined = bound(lab, edge, control, transport, family, answer.first(CONNECTION_ID))
    assert joined.kind == SUCCESS
    before = edge.resident_bytes()
    with peer, data.wire:
        peer.setblocking(False)
        chunk, sent, quiet = os.urandom(1 << 16), 0, time.monotonic()
        while time.monotonic() - quiet < 0.5 and sent < 64 << 20:
            try:
                sent += peer.send(chunk[sent % len(chunk) :])
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < 64 << 20, "a reader that does not read must stop the sender"
        assert edge.resident_bytes() - before <= 10 << 20
        data.wire.socket.settimeout(5)
        got = 0
        while got < sent:
            piece = data.wire.take_rest() or data.wire.socket.recv(65536)
            assert piece == (chunk * (2 + len(piece) // len(chunk)))[got % len(chunk) :][: len(piece)]
            got += len(piece)


@wires
def test_a_peer_that_connects_is_announced_and_joined(lab, edge, control, transport, family):
    assert control.permit(A.PEER).kind == SUCCESS
    with lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        peer.bind((A.PEER, 0))
        peer.settimeout(5)
        peer.connect(control.relay)
        attempt = decode(control.wire.receive(3.0))
        assert (attempt.method, attempt.kind) == (CONNECTION_ATTEMPT, INDICATION)
        assert attempt.address(XOR_PEER_ADDRESS) == peer.getsockname()
        data, joined = bound(lab, edge, control, transport, family, attempt.first(CONNECTION_ID))
        assert joined.kind == SUCCESS
        with data.wire:
            peer.sendall(b"hello from outside")
            assert (data.wire.take_rest() or data.wire.socket.recv(100)) == b"hello from outside"


@wires
def test_a_peer_without_permission_is_not_let_in(lab, edge, control, transport, family):
    with lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        peer.bind((A.PEER_SECOND, 0))
        peer.settimeout(3)
        try:
            peer.connect(control.relay)
            assert peer.recv(1) == b""
        except (ConnectionRefusedError, ConnectionResetError):
            pass
        assert control.wire.receive(0.3) is None


@wires
def test_the_end_of_either_side_ends_the_other(lab, edge, control, listener, transport, family):
    for closer in ("peer", "client"):
        answer = control.connect(listener.getsockname())
        assert answer.kind == SUCCESS, answer.error
        peer = listener.accept()[0]
        data, joined = bound(lab, edge, control, transport, family, answer.first(CONNECTION_ID))
        assert joined.kind == SUCCESS
        one, other = (peer, data.wire.socket) if closer == "peer" else (data.wire.socket, peer)
        one.close()
        other.settimeout(5)
        try:
            assert other.recv(1) == b""
        except ConnectionResetError:
            pass
        other.close()
        time.sleep(0.1)


@wires
def test_the_end_of_the_control_connection_ends_everything(lab, edge, control, listener, transport, family):
    answer = control.connect(listener.getsockname())
    peer = listener.accept()[0]
    data, joined = bound(lab, edge, control, transport, family, answer.first(CONNECTION_ID))
    assert joined.kind == SUCCESS
    control.wire.close()
    with peer, data.wire:
        peer.settimeout(5)
        try:
            assert peer.recv(1) == b""
        except ConnectionResetError:
            pass
    await_that(lambda: edge.metrics().sum("postern_edge_allocations") == 0, what="the allocation's end")


@wires
def test_connect_twice_446_and_connect_to_a_closed_port_447(lab, edge, control, listener, transport, family):
    assert control.connect(listener.getsockname()).kind == SUCCESS
    again = control.connect(listener.getsockname())
    assert (again.kind, again.error) == (ERROR, 446)
    assert control.connect((A.PEER, 1), timeout=10).error == 447


@wires
def test_connection_bind_by_another_user_is_refused(lab, edge, control, listener, transport, family):
    answer = control.connect(listener.getsockname())
    other = edge.client(lab.host("crowd"), "stranger", transport, family)
    with other.wire:
        refused = other.request(CONNECTION_BIND, [(CONNECTION_ID, answer.first(CONNECTION_ID))])
        assert refused.error in (400, 441)


def test_connection_bind_later_than_30_seconds_is_refused(lab, edge):
    client = edge.client(lab.host("crowd"), "piper", "tcp")
    with client.wire, lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((A.PEER, 0))
        listener.listen()
        assert client.allocate(transport=TCP_TRANSPORT).kind == SUCCESS
        answer = client.connect(listener.getsockname())
        connection = listener.accept()[0]
        connection.settimeout(40)
        assert connection.recv(1) == b"", "closed when nobody came for it"
        data, refused = bound(lab, edge, client, "tcp", 4, answer.first(CONNECTION_ID))
        assert refused.error == 400
        data.wire.close()
