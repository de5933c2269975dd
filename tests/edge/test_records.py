"""One JSON record per allocation at its start and its end."""

import json
import struct

import pytest

from edge_process import await_that
from natlab import Addresses
from stun import ADDITIONAL_FAMILY, REQUESTED_FAMILY, SUCCESS

A = Addresses


@pytest.fixture(scope="module")
def edge(start_module_edge, tmp_path_factory):
    return start_module_edge({"edge": {"records": {"file": tmp_path_factory.mktemp("records") / "records.jsonl"}}})


def records(edge):
    with open(edge.config["edge"]["records"]["file"]) as file:
        return [json.loads(line) for line in file]


def about(edge, identity):
    return [record for record in records(edge) if record["identity"] == identity]


def test_start_and_end_tell_who_where_how_much_and_why(lab, edge):
    client = edge.client(lab.host("crowd"), "recorded")
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        peer.settimeout(2.0)
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        for _ in range(10):
            client.send_channel(0x4000, bytes(172))
            peer.recvfrom(1000)
        for _ in range(7):
            peer.sendto(bytes(100), client.relay)
            client.receive(2.0)
        client.refresh(0)
        start, end = await_that(lambda: len(r := about(edge, "recorded")) == 2 and r, what="both records")
    text = json.dumps(start)
    for fact in (A.CROWD, str(client.mapped[1]), A.EDGE, str(client.relay[1]), "udp"):
        assert fact in text, start
    text = json.dumps(end)
    for fact in (A.PEER, "released", "1720", "700"):
        assert fact in text, end
    assert client.password not in json.dumps([start, end])


def test_the_media_of_a_family_given_back_before_the_end_is_in_the_record(lab, edge):
    client = edge.client(lab.host("crowd"), "two-families")
    v4, v6 = b"\x01\0\0\0", b"\x02\0\0\0"

    def living(family):
        return edge.metrics().sum("postern_edge_allocations", transport="udp", family=family)

    before = living("ipv4"), living("ipv6")
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        assert client.allocate((ADDITIONAL_FAMILY, v6)).kind == SUCCESS
        await_that(lambda: (living("ipv4"), living("ipv6")) == (before[0] + 1, before[1] + 1), what="both families")
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        for number in range(40):
            client.send_channel(0x4000, struct.pack("!BBHII", 0x80, 0, number, number * 160, 7) + bytes(160))
        await_that(lambda: edge.metrics().sum("postern_edge_media_streams_total", direction="to_peer") >= 1, what="a stream")
        assert client.refresh(0, (REQUESTED_FAMILY, v4)).kind == SUCCESS
        await_that(lambda: (living("ipv4"), living("ipv6")) == (before[0], before[1] + 1), what="one family")
        client.refresh(0)
        _, end = await_that(lambda: len(r := about(edge, "two-families")) == 2 and r, what="both records")
    assert [way["to_peer"]["rtp_packets"] for way in end["media"]] == [40, 0]
    await_that(lambda: (living("ipv4"), living("ipv6")) == before, what="none")


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_closed_connection_is_the_reason_of_the_end(lab, edge, transport):
    client = edge.client(lab.host("crowd"), f"gone-{transport}", transport)
    assert client.allocate().kind == SUCCESS
    client.wire.close()
    _, end = await_that(lambda: len(r := about(edge, f"gone-{transport}")) == 2 and r, what="both records")
    assert "client_closed" in json.dumps(end)


def test_an_expired_credential_is_the_reason_of_the_end_and_a_warning(lab, edge):
    client = edge.client(lab.host("crowd"), "short-lived", ttl=3)
    with client.wire:
        answer = client.allocate()
        assert answer.kind == SUCCESS and answer.lifetime() <= 3
        _, end = await_that(lambda: len(r := about(edge, "short-lived")) == 2 and r, timeout=8, what="both records")
        assert "credential_expired" in json.dumps(end)
        assert [line for line in edge.log_lines("short-lived") if "WARN" in line]
        assert edge.metrics().sum("postern_edge_allocations_ended_total", reason="credential_expired") == 1
        assert client.refresh(600).error == 401
