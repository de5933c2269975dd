"""Streams that say nothing, say it slowly, say nonsense or never listen."""

import os
import socket
import struct
import time

import pytest

from edge_process import await_that
from natlab import Addresses
from stun import ALLOCATE, BINDING, REQUESTED_TRANSPORT, SUCCESS, UDP_TRANSPORT, Closed, Message, binding, decode

A = Addresses
families = pytest.mark.parametrize("family", [4, 6])

# The start of a TLS 1.2 record that announces more than it brings.
HALF_HELLO = bytes.fromhex("16030102000100")


def raw(lab, family, port):
    """A plain TCP connection to the edge from the peer's host."""
    connection = lab.host("peer").socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    connection.settimeout(15)
    connection.connect((A.EDGE if family == 4 else A.EDGE_6, port))
    return connection


def closed_after(connection, deadline=15.0):
    """Seconds until the server closed it; anything it says meanwhile is a failure."""
    started = time.monotonic()
    connection.settimeout(deadline)
    try:
        said = connection.recv(1)
    except ConnectionResetError:
        said = b""
    assert said == b""
    return time.monotonic() - started


SILENCES = {
    "silent_tcp": (3478, b""),
    "silent_on_tls_port": (443, b""),
    "half_client_hello": (443, HALF_HELLO),
    "half_stun_header": (3478, Message(BINDING).encode()[:7]),
    "half_allocate": (3478, Message(ALLOCATE, attributes=[(REQUESTED_TRANSPORT, UDP_TRANSPORT)]).encode()[:24]),
}


def test_a_connection_that_shows_no_request_is_closed_within_10_seconds(lab, edge):
    """All kinds at once, on both families; others are served meanwhile."""
    started, open_ones = time.monotonic(), {}
    for family in (4, 6):
        for name, (port, start) in SILENCES.items():
            connection = raw(lab, family, port)
            connection.sendall(start)
            open_ones[name, family] = connection
    for transport in ("tcp", "tls"):
        with edge.wire(lab.host("inside"), transport) as wire:
            assert binding(wire, timeout=2.0).kind == SUCCESS
    lasted = {}
    for name, connection in open_ones.items():
        closed_after(connection)
        lasted[name] = time.monotonic() - started
        connection.close()
    assert all(seconds <= 11.0 for seconds in lasted.values()), lasted
    await_that(lambda: edge.metrics().sum("postern_edge_streams_half_open") == 0, what="no half-open stream left")


@families
@pytest.mark.parametrize("port, data", [(443, HALF_HELLO), (3478, b"\x00\x03\x00\x08\x21\x12\xa4\x42" + bytes(12))])
def test_dripping_bytes_does_not_extend_the_10_seconds(lab, edge, family, port, data):
    connection = raw(lab, family, port)
    started = time.monotonic()
    connection.settimeout(0.5)
    for byte in data + bytes(100):
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(1) == b"":
                break
        except TimeoutError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            break
        assert time.monotonic() - started < 12
    assert time.monotonic() - started <= 11.0
    connection.close()


def test_a_request_in_single_bytes_is_answered(lab, edge):
    with edge.wire(lab.host("peer"), "tcp") as wire:
        message = Message(BINDING)
        for byte in message.encode():
            wire.send(bytes([byte]))
        assert decode(wire.receive(3.0)).transaction == message.transaction


def test_200_pipelined_requests_get_200_answers(lab, edge):
    client = edge.client(lab.host("peer"), transport="tcp")
    with client.wire:
        assert client.allocate().kind == SUCCESS
        signed = [client.signed(4, []) for _ in range(200)]
        client.wire.send(b"".join(data for data, _ in signed))
        answers = [decode(client.wire.receive(3.0)) for _ in signed]
        assert [answer.transaction for answer in answers] == [transaction for _, transaction in signed]
        assert {answer.kind for answer in answers} == {SUCCESS}


GARBAGE = {
    "zeros_then_noise": bytes(8) + b"\xff" * 64,
    "top_bits_11": b"\xff" * 64,
    "top_bits_10": b"\x80\x00" * 32,
    "odd_length": struct.pack("!HHI", ALLOCATE, 3, 0x2112A442) + bytes(15),
    "no_cookie": struct.pack("!HHI", ALLOCATE, 0, 0xDEADBEEF) + bytes(12),
    "http": b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n",
    "forbidden_channel": struct.pack("!HH", 0x5000, 4) + b"data",
}


@families
@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("authenticated", [False, True], ids=["stranger", "client"])
def test_framing_errors_close_the_connection_and_disturb_nobody(lab, edge, family, transport, authenticated):
    bystander = edge.client(lab.host("peer"), "bystander", transport, family)
    with bystander.wire:
        assert bystander.allocate().kind == SUCCESS
        for name, data in GARBAGE.items():
            if authenticated and name == "http":
                continue  # to a client's framer it is the start of long ChannelData: 0x4745, 0x5420 bytes
            client = edge.client(lab.host("peer"), "babbler", transport, family)
            with client.wire:
                if authenticated:
                    assert client.allocate().kind == SUCCESS
                client.wire.send(data)
                with pytest.raises(Closed):
                    assert client.wire.receive(3.0) is not None, f"{name}: still open"
                    pytest.fail(f"{name}: answered")
        assert bystander.refresh(600).kind == SUCCESS
        bystander.refresh(0)


@families
@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + bytes(64), b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\x00\x10" + bytes(16)],
    ids=["no_hello", "oversize_record", "alert", "early_data"],
)
def test_tls_garbage_closes_the_connection(lab, edge, family, data):
    connection = raw(lab, family, 443)
    connection.sendall(data)
    connection.settimeout(11)
    started = time.monotonic()
    try:
        while connection.recv(1000):
            pass  # an alert may come first
    except ConnectionResetError:
        pass
    assert time.monotonic() - started <= 11.0
    connection.close()


def test_one_source_cannot_take_all_half_open_connections(lab, edge):
    """Beyond its cap a source's connections are closed at once; another source is served."""
    greedy = [raw(lab, 4, 3478) for _ in range(100)]
    try:
        time_limit = time.monotonic() + 3
        still_open = greedy
        while len(still_open) > 32 and time.monotonic() < time_limit:
            still_open = [connection for connection in still_open if not _was_closed(connection)]
        assert len(still_open) <= 32
        with edge.wire(lab.host("inside"), "tcp") as wire:
            assert binding(wire, timeout=2.0).kind == SUCCESS
    finally:
        for connection in greedy:
            connection.close()


def _was_closed(connection):
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_reader_that_never_reads_costs_bounded_memory_and_loses_old_media_in_whole_frames(lab, edge, transport):
    reader = edge.client(lab.host("peer"), "reader", transport, timeout=10.0)
    other = edge.client(lab.host("peer"), "other", transport)
    with reader.wire, other.wire, lab.host("peer").socket() as peer, lab.host("peer").socket() as quiet:
        peer.bind((A.PEER_SECOND, 0))
        quiet.bind((A.PEER_SECOND, 0))
        for client, source in ((reader, peer), (other, quiet)):
            assert client.allocate().kind == SUCCESS
            assert client.bind(0x4000, source.getsockname()).kind == SUCCESS
        before, dropped = edge.resident_bytes(), edge.metrics().sum("postern_edge_drops_total", reason="queue_full")
        sent, others = 30_000, 0
        for number in range(sent):
            peer.sendto(struct.pack("!I", number) + bytes(1000), reader.relay)
            if number % 100 == 0:
                quiet.sendto(struct.pack("!I", others), other.relay)
                assert other.receive(2.0) == (0x4000, struct.pack("!I", others)), "the other one waits"
                others += 1
        assert edge.resident_bytes() - before <= 10 << 20
        await_that(
            lambda: edge.metrics().sum("postern_edge_drops_total", reason="queue_full") > dropped,
            what="dropped media is counted",
        )
        peer.sendto(struct.pack("!I", sent) + bytes(1000), reader.relay)
        numbers = []
        while (got := reader.receive(1.0)) is not None:
            channel, payload = got
            assert channel == 0x4000 and len(payload) == 1004 and payload[4:] == bytes(1000)
            numbers.append(struct.unpack("!I", payload[:4])[0])
        assert numbers == sorted(set(numbers)) and len(numbers) < sent
        assert reader.refresh(600).kind == SUCCESS, "control outlives the flood"


def test_control_answers_are_not_dropped_for_a_slow_reader(lab, edge):
    """Requests go in, nothing is read, media floods; every answer is there in the end."""
    client = edge.client(lab.host("peer"), "slow", "tcp", timeout=10.0)
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER_SECOND, 0))
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        asked = []
        for _ in range(50):
            for _ in range(200):
                peer.sendto(os.urandom(1000), client.relay)
            data, transaction = client.signed(4, [])
            client.wire.send(data)
            asked.append(transaction)
        answered = []
        while len(answered) < len(asked) and (frame := client.wire.receive(5.0)) is not None:
            if (message := decode(frame)) is not None and frame[0] & 0xC0 == 0:
                answered.append(message.transaction)
        assert answered == asked
