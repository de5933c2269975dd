"""Drain: new clients are sent elsewhere, old ones are served to their end."""

import signal
import time

import pytest

from edge_process import await_that
from natlab import Addresses
from stun import (
    ALLOCATE,
    ALTERNATE_DOMAIN,
    ALTERNATE_SERVER,
    REQUESTED_TRANSPORT,
    SUCCESS,
    UDP_TRANSPORT,
    binding,
    unplain,
)

A = Addresses
ALTERNATES = [{"address": f"{A.STUN}:3478", "domain": "edge2.example.test"}]


@pytest.fixture
def edge(start_edge):
    edge = start_edge({"edge": {"drain": {"deadline_secs": 30, "alternate": ALTERNATES}}})
    yield edge
    edge.stop()


@pytest.fixture
def call(lab, edge):
    client = edge.client(lab.host("crowd"))
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        peer.settimeout(2.0)
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        yield client, peer


def drain(edge):
    edge.signal(signal.SIGTERM)
    await_that(lambda: edge.status("/readyz") == 503, what="/readyz 503")


def test_readyz_says_503_while_healthz_stays_200(edge, call):
    assert (edge.status("/readyz"), edge.status("/healthz")) == (200, 200)
    drain(edge)
    assert edge.status("/healthz") == 200


def test_old_clients_are_served_in_full(edge, call):
    client, peer = call
    drain(edge)
    assert binding(client.wire).kind == SUCCESS
    assert client.refresh(600).kind == SUCCESS
    assert client.permit(A.PEER_SECOND).kind == SUCCESS
    assert client.bind(0x4001, (A.PEER_SECOND, 9)).kind == SUCCESS
    client.send_channel(0x4000, b"media")
    assert peer.recvfrom(100)[0] == b"media"
    peer.sendto(b"back", client.relay)
    assert client.receive(2.0) == (0x4000, b"back")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_new_allocate_is_sent_to_the_alternate_once_authenticated(lab, edge, call, transport):
    drain(edge)
    client = edge.client(lab.host("peer"), transport=transport)
    with client.wire:
        client.challenge()
        data, transaction = client.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
        answer = client.wire.ask(data, transaction)
        assert answer.error == 300
        assert unplain(answer.first(ALTERNATE_SERVER)) == (A.STUN, 3478)
        assert answer.first(ALTERNATE_DOMAIN) == b"edge2.example.test"
        assert answer.integrity_holds(client.key)


def test_a_client_whose_family_has_no_alternate_gets_508(lab, edge, call):
    drain(edge)
    client = edge.client(lab.host("peer"), family=6)
    with client.wire:
        assert client.allocate().error == 508


def test_a_wrong_password_learns_no_alternate(lab, edge, call):
    drain(edge)
    client = edge.client(lab.host("peer"))
    client.password = "wrong"
    with client.wire:
        answer = client.allocate()
        assert answer.error == 401 and answer.first(ALTERNATE_SERVER) is None


def test_it_ends_with_code_0_when_the_last_allocation_has(edge, call):
    client, _ = call
    drain(edge)
    time.sleep(0.5)
    assert edge.process.poll() is None
    assert client.refresh(0).kind == SUCCESS
    assert edge.wait(5.0) == 0


def test_a_reload_asked_for_meanwhile_is_refused_with_a_line_that_says_why(edge, call):
    drain(edge)
    before = edge.metrics().sum("postern_edge_configuration_reloads_total")
    edge.signal(signal.SIGHUP)
    lines = await_that(lambda: edge.log_lines("SIGHUP"), what="a line about it")
    assert "drain" in lines[0] and "WARN" in lines[0]
    assert edge.metrics().sum("postern_edge_configuration_reloads_total") == before


def test_it_ends_at_once_without_allocations(edge):
    edge.signal(signal.SIGTERM)
    assert edge.wait(5.0) == 0


def test_it_ends_at_the_deadline(lab, start_edge):
    edge = start_edge({"edge": {"drain": {"deadline_secs": 2}}})
    client = edge.client(lab.host("peer"))
    with client.wire:
        assert client.allocate().kind == SUCCESS
        started = time.monotonic()
        edge.signal(signal.SIGTERM)
        edge.wait(10.0)
        assert 1.5 <= time.monotonic() - started <= 4.0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(edge, call, second):
    drain(edge)
    started = time.monotonic()
    edge.signal(second)
    edge.wait(5.0)
    assert time.monotonic() - started < 1.5


def test_ended_allocations_are_recorded_as_ended_by_shutdown(lab, start_edge, tmp_path):
    records = tmp_path / "records.jsonl"
    edge = start_edge({"edge": {"drain": {"deadline_secs": 1}, "records": {"file": records}}})
    client = edge.client(lab.host("peer"))
    with client.wire:
        assert client.allocate().kind == SUCCESS
        edge.signal(signal.SIGTERM)
        edge.wait(10.0)
    assert "shutdown" in records.read_text().splitlines()[-1]
