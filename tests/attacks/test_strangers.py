"""What senders without credentials can cost: no memory, no amplification, no disturbance, no knowledge."""

import os
import random
import statistics
import struct
import time

import pytest

from crowd import Crowd
from edge_process import GENEROUS, SECRET, await_that
from natlab import Addresses
from sniffer import Sniffer
from stun import (
    ALLOCATE,
    BINDING,
    ERROR_CODE,
    INDICATION,
    LIFETIME,
    MESSAGE_INTEGRITY,
    NONCE,
    REALM,
    REQUESTED_TRANSPORT,
    SEND,
    SOFTWARE,
    SUCCESS,
    UDP_TRANSPORT,
    USERNAME,
    Closed,
    Message,
    TurnClient,
    Wire,
    binding,
    channel_data,
    classic_token,
    decode,
)

A = Addresses
families = pytest.mark.parametrize("family", [4, 6])
wires = pytest.mark.parametrize(
    "transport, family", [(t, f) for f in (4, 6) for t in ("udp", "tcp", "tls")], ids=lambda value: str(value)
)

_run = iter(range(1_000_000))


def fresh_sources():
    """A range of sources that no test used yet: each source's allowance of answers is its own."""
    return next(_run) * 1000


def bare_allocate():
    return Message(ALLOCATE, attributes=[(REQUESTED_TRANSPORT, UDP_TRANSPORT)])


def garbage_hmac():
    username, _ = classic_token("not the secret at all", "mallory")
    message = bare_allocate()
    message.attributes += [(USERNAME, username.encode()), (REALM, b"example.test"), (NONCE, os.urandom(16).hex().encode())]
    return message.encode(key=os.urandom(16))


# Strangers' datagrams that may be on their way when the bystander speaks: as many as the edge's buffer holds several times.
FLOOD_WAVE = 100
FLOODS = {
    "bare": lambda: bare_allocate().encode(),
    "garbage_hmac": garbage_hmac,
    "binding": lambda: Message(BINDING).encode(),
    "channel_data": lambda: channel_data(0x4000 + random.randrange(0x1000), os.urandom(100)),
    "send_indication": lambda: Message(SEND, INDICATION, [(LIFETIME, bytes(4))]).encode(),
    "noise": lambda: os.urandom(random.randrange(1, 200)),
}


@families
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_from_30000_sources_costs_no_memory_and_disturbs_nobody(lab, edge, kind, family):
    client = edge.client(lab.host("peer"), "bystander", family=family)
    first, count = fresh_sources() % 20_000, 30_000
    with client.wire, lab.host("peer").socket() as peer, Crowd(lab, family) as crowd:
        peer.bind((A.PEER_SECOND, 0))
        peer.setblocking(False)
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        before, arrived = edge.resident_bytes(), set()

        def has_arrived(wanted):
            try:
                while True:
                    arrived.add(struct.unpack("!I", peer.recv(100))[0])
            except BlockingIOError:
                return wanted < 0 or wanted in arrived

        # As fast as the edge keeps up, whatever the machine has left for it: the claim is that strangers cost no memory and
        # no order, not that a core has no end. One wave is on its way while the one before is waited for.
        for wave in range(count // FLOOD_WAVE):
            for number in range(FLOOD_WAVE):
                crowd.send(first + wave * FLOOD_WAVE + number, FLOODS[kind]())
            client.send_channel(0x4000, struct.pack("!I", wave))
            await_that(lambda: has_arrived(wave - 1), what=f"packet {wave - 1} of the bystander", interval=0.001)
        await_that(lambda: has_arrived(wave), what="the bystander's last packet")
        assert len(arrived) == count // FLOOD_WAVE
        assert edge.resident_bytes() - before <= 10 << 20
        client.refresh(0)


def ip_bytes_of(lab, edge, family, data):
    """IP bytes of one datagram to the edge and of what it sends back to that source."""
    source, after = fresh_sources() % 60_000, Message(BINDING)
    with Crowd(lab, family) as crowd, Sniffer(lab.host("edge")) as seen:
        crowd.send(source, data)
        crowd.send(source, after.encode())
        # Datagrams of one source are answered in their order.
        await_that(lambda: any(after.transaction in answer for answer in crowd.received(0.05)), what="the later answer")
        packets = seen.settle()
        into = sum(packet.ip_bytes for packet in packets if not packet.outgoing and data in packet.data)
        transaction = data[4:20]
        out = sum(packet.ip_bytes for packet in packets if packet.outgoing and transaction in packet.data)
    assert into
    return into, out


@families
def test_a_binding_answer_is_at_most_twice_its_request(lab, edge, family):
    into, out = ip_bytes_of(lab, edge, family, Message(BINDING).encode())
    assert 0 < out <= 2.0 * into


@families
@pytest.mark.parametrize("attributes", [[(REQUESTED_TRANSPORT, UDP_TRANSPORT)], []], ids=["with_transport", "empty"])
def test_a_bare_allocate_is_answered_with_at_most_2_7_times_its_bytes(lab, edge, family, attributes):
    into, out = ip_bytes_of(lab, edge, family, Message(ALLOCATE, attributes=attributes).encode())
    assert 0 < out <= 2.7 * into


@families
@pytest.mark.parametrize("method", range(1, 14))
@pytest.mark.parametrize("attribute", [None, 0x7F01, 0xFF01], ids=["bare", "unknown_required", "unknown_optional"])
def test_no_request_of_a_stranger_is_answered_with_more_than_2_7_times_its_bytes(lab, edge, family, method, attribute):
    attributes = [] if attribute is None else [(attribute, b"")]
    into, out = ip_bytes_of(lab, edge, family, Message(method, attributes=attributes).encode())
    assert out <= 2.7 * into


@wires
def test_strangers_learn_neither_software_nor_reasons(lab, edge, transport, family):
    for message in (bare_allocate(), Message(BINDING), Message(ALLOCATE, attributes=[(0x7F01, b"")])):
        with edge.wire(lab.host("peer"), transport, family) as wire:
            answer = wire.ask(message.encode(), message.transaction)
            assert answer.first(SOFTWARE) is None
            error = answer.first(ERROR_CODE)
            assert error is None or len(error) == 4, "a reason phrase"
            nonce = answer.first(NONCE)
            assert nonce is None or len(nonce) <= 40


@families
def test_beyond_20_answers_a_second_a_source_meets_silence_and_is_counted(lab, edge, family):
    before = edge.metrics().sum("postern_edge_drops_total", reason="rate_limited")
    source = fresh_sources() % 60_000
    with Crowd(lab, family) as crowd:
        started, answers = time.monotonic(), []
        for number in range(300):
            crowd.send(source, (Message(BINDING) if number % 2 else bare_allocate()).encode())

        def all_judged():
            answers.extend(crowd.received(0.05))
            dropped = edge.metrics().sum("postern_edge_drops_total", reason="rate_limited") - before
            assert dropped + len(answers) <= 300
            return dropped + len(answers) == 300

        await_that(all_judged, what="an answer to or a count of each of them")
        took = time.monotonic() - started
    # A bucket of 20 that fills with 20 a second, however long the machine took.
    assert 20 <= len(answers) <= 20 * (1 + took)


@families
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_beyond_20_answers_a_second_a_sources_connections_are_closed_at_once(lab, edge, family, transport):
    """Whoever answers hears them: a connection cannot be forged, and silence would only keep it open."""
    dropped = lambda: edge.metrics().sum("postern_edge_drops_total", reason="rate_limited")  # noqa: E731
    closed = lambda: edge.metrics().sum("postern_edge_streams_closed_total", reason="limit")  # noqa: E731
    source, before = fresh_sources() % 60_000, (dropped(), closed())
    with Crowd(lab, family) as crowd:
        # Forged or not, datagrams take nothing from connections.
        for _ in range(100):
            crowd.send(source, Message(BINDING).encode())
        crowd.received()
        limited = dropped()
        answers, started, ended_after = 0, time.monotonic(), None
        with crowd.connect(source, transport) as wire:
            for number in range(200):
                message = bare_allocate() if number % 2 else Message(BINDING)
                try:
                    wire.send(message.encode())
                    answers += decode(wire.receive(5.0)).transaction == message.transaction
                except (Closed, BrokenPipeError, ConnectionResetError):
                    ended_after = time.monotonic() - started
                    break
        assert ended_after is not None and ended_after < 5, "neither an answer nor an end"
        assert 10 <= answers <= 20 * (1 + ended_after)
        with crowd.connect(source + 1, transport) as neighbour:
            assert binding(neighbour, timeout=2.0).kind == SUCCESS
        await_that(lambda: closed() == before[1] + 1, what="the end of the connection is counted")
    assert limited > before[0] and dropped() == limited + 1


@families
def test_a_silenced_source_does_not_silence_its_neighbours(lab, edge, family):
    source = fresh_sources() % 60_000
    with Crowd(lab, family) as crowd:
        for _ in range(200):
            crowd.send(source, Message(BINDING).encode())
        neighbour = Message(BINDING)
        crowd.send(source + 1, neighbour.encode())
        answers = []

        def answered():
            answers.extend(decode(data).transaction for data in crowd.received(0.05))
            return neighbour.transaction in answers

        await_that(answered, what="the neighbour's answer")
        # Those before it came from the noisy source, as far as its allowance went.
        assert len(answers) < 200


def test_an_established_client_is_not_silenced_with_its_address(lab, edge):
    """Behind one NAT address many endpoints live; a noisy one costs the others no authenticated answer."""
    client = edge.client(lab.host("peer"))
    with client.wire, lab.host("peer").socket() as noisy:
        assert client.allocate().kind == SUCCESS
        for _ in range(300):
            noisy.sendto(Message(BINDING).encode(), (A.EDGE, 3478))
        for _ in range(30):
            data, transaction = client.signed(4, [])
            client.wire.send(data)
            assert decode(client.wire.receive(2.0)).kind == SUCCESS
        client.refresh(0)


@wires
def test_a_nonce_from_another_5_tuple_gets_438(lab, edge, transport, family):
    one = edge.client(lab.host("peer"), transport=transport, family=family)
    with one.wire:
        one.challenge()
        other = edge.client(lab.host("peer"), transport=transport, family=family)
        with other.wire:
            other.realm, other.nonce = one.realm, one.nonce
            data, transaction = other.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
            answer = other.wire.ask(data, transaction)
            assert answer.error == 438 and answer.first(NONCE) not in (None, one.nonce)
            assert answer.first(REALM) is not None


@wires
def test_a_captured_request_from_another_port_gets_438_and_opens_nothing(lab, edge, transport, family):
    victim = edge.client(lab.host("peer"), "victim", transport, family)
    with victim.wire, edge.wire(lab.host("peer"), transport, family) as thief:
        victim.challenge()
        data, transaction = victim.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
        before = edge.metrics().sum("postern_edge_allocations_started_total")
        assert thief.ask(data, transaction).error == 438
        assert edge.metrics().sum("postern_edge_allocations_started_total") == before
        assert victim.wire.ask(data, transaction).kind == SUCCESS
        assert thief.ask(data, transaction).error == 438


def test_a_captured_request_from_another_address_gets_438(lab, edge):
    victim = edge.client(lab.host("peer"), "victim", bind=A.PEER)
    with victim.wire:
        victim.challenge()
        data, transaction = victim.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
        port = victim.wire.local[1]
        with edge.wire(lab.host("peer"), bind=(A.PEER_SECOND, port)) as thief:
            assert thief.ask(data, transaction).error == 438


@families
def test_a_byte_identical_repeat_from_the_same_5_tuple_gets_the_same_answer(lab, edge, family):
    client = edge.client(lab.host("peer"), family=family)
    with client.wire:
        client.challenge()
        data, transaction = client.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
        first = client.wire.ask(data, transaction)
        again = client.wire.ask(data, transaction)
        assert first.kind == SUCCESS and again.raw == first.raw
        client.refresh(0)


def wrong_credentials():
    """Names and passwords that must all look alike: the first is a known user with a wrong password."""
    good, _ = classic_token(SECRET, "alice")
    long_gone = classic_token(SECRET, "alice", ttl=-3600)[0]
    return {
        "known_user": (good, "wrong"),
        "no_such_form": ("x" * len(good), "wrong"),
        "expired": (long_gone + "x" * (len(good) - len(long_gone)), "wrong"),
        "extended_form": (("p1.2026a." + "A" * len(good))[: len(good)], "wrong"),
        "unknown_key": (("p1.nokey." + "A" * len(good))[: len(good)], "wrong"),
    }


def refused(client, username, password):
    client.username, client.password = username, password
    data, transaction = client.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
    started = time.perf_counter()
    client.wire.send(data)
    frame = client.wire.receive(2.0)
    took = time.perf_counter() - started
    answer = frame and decode(frame)
    return answer, took


@pytest.fixture(scope="module")
def patient_edge(start_module_edge):
    """Answers strangers as often as they ask, so that their answers can be timed."""
    return start_module_edge(
        {
            "edge": {
                **{"udp": [f"{A.EDGE_ALTERNATE}:3478"], "tcp": [], "tls": []},
                "relay": {"addresses": [A.EDGE_ALTERNATE], "ports": "40000-40099"},
                **GENEROUS,
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        }
    )


def patient_client(lab, edge):
    return TurnClient(Wire(lab.host("peer"), (A.EDGE_ALTERNATE, 3478)), "nobody", "wrong")


def test_wrong_password_and_unknown_user_look_the_same(lab, patient_edge):
    client = patient_client(lab, patient_edge)
    with client.wire:
        client.challenge()
        shapes = set()
        for name, (username, password) in wrong_credentials().items():
            answer, _ = refused(client, username, password)
            assert answer.error == 401, name
            shapes.add(tuple((kind, len(value)) for kind, value in answer.attributes))
            assert answer.first(USERNAME) is None and answer.first(MESSAGE_INTEGRITY) is None
        assert len(shapes) == 1


def test_wrong_password_and_unknown_user_take_the_same_time(lab, patient_edge):
    """Interleaved, in random order, judged by the fastest: what others take of the machine only ever adds. How well that
    works shows in the two halves of one name's own times; while they differ as much as what is looked for, more are taken.
    """
    client, names = patient_client(lab, patient_edge), wrong_credentials()
    times = {name: [] for name in names}

    def fastest(samples):
        return statistics.median(sorted(samples)[: max(1, len(samples) // 10)])

    with client.wire:
        client.challenge()
        for attempt in range(10):
            for _ in range(600):
                for name in random.sample(list(names), len(names)):
                    answer, took = refused(client, *names[name])
                    if answer is None or answer.error == 438:
                        client.nonce = None
                        client.challenge()
                        continue
                    times[name].append(took)
            reference = fastest(times["known_user"])
            # A round trip is about 100 us; an HMAC-SHA1 with its key about 1 us; one skipped lookup less than that.
            tolerance = max(0.06 * reference, 6e-6)
            noise = abs(fastest(times["known_user"][::2]) - fastest(times["known_user"][1::2]))
            middle = {name: fastest(all_) for name, all_ in times.items()}
            if noise < tolerance / 2 and all(abs(value - reference) < tolerance for value in middle.values()):
                return
    pytest.fail(f"{middle}, two halves of one differ by {noise}")
