"""NAT behaviour discovery (RFC 5780) by the edge itself: what its answers make an independent client find."""

import struct

import pytest

from discovery import discover_from_everywhere
from edge_process import await_that, merged
from natlab import KINDS, Addresses
from stun import (
    BINDING,
    CHANGE_REQUEST,
    ERROR,
    OTHER_ADDRESS,
    RESPONSE_ORIGIN,
    RESPONSE_PORT,
    SUCCESS,
    Message,
    Wire,
    binding,
    decode,
    unplain,
)

A = Addresses
WITH_IPV4 = [kind for kind in KINDS.values() if kind.name != "ipv6-only"]


@pytest.fixture(scope="module")
def edge_changes():
    return {"edge": {"nat_discovery": {"alternate_address": A.EDGE_ALTERNATE, "alternate_port": 3479}}}


@pytest.fixture(scope="module")
def discovered(lab, edge, tool):
    return discover_from_everywhere(lab, tool("turnutils_natdiscovery"), A.EDGE, A.EDGE_6, sides="a")


@pytest.mark.parametrize("kind", WITH_IPV4, ids=lambda kind: kind.name)
def test_a_client_finds_the_kind_of_its_nat_by_the_edge(discovered, kind):
    assert discovered["a", kind.name] == (kind.mapping, kind.filtering)


def test_answers_name_their_origin_and_the_other_address(lab, edge):
    with edge.wire(lab.host("peer")) as wire:
        answer = binding(wire)
        assert unplain(answer.first(RESPONSE_ORIGIN)) == (A.EDGE, 3478)
        assert unplain(answer.first(OTHER_ADDRESS)) == (A.EDGE_ALTERNATE, 3479)


@pytest.mark.parametrize(
    "flags, source",
    [(2, (A.EDGE, 3479)), (4, (A.EDGE_ALTERNATE, 3478)), (6, (A.EDGE_ALTERNATE, 3479))],
    ids=["port", "address", "both"],
)
def test_a_change_request_is_answered_from_where_it_asks(lab, edge, flags, source):
    with lab.host("peer").socket() as client:
        client.settimeout(2.0)
        message = Message(BINDING, attributes=[(CHANGE_REQUEST, struct.pack("!I", flags))])
        client.sendto(message.encode(), (A.EDGE, 3478))
        data, sender = client.recvfrom(2000)
        answer = decode(data)
        assert answer.kind == SUCCESS and sender == source
        assert unplain(answer.first(RESPONSE_ORIGIN)) == source


def test_a_reload_that_makes_another_listener_the_primary_one_changes_who_answers(lab, start_edge):
    def listeners(*ports):
        return {"edge": {"udp": [f"{A.EDGE_INSIDE}:{port}" for port in ports]}}

    outside = {
        **{"tcp": [], "tls": [], "nat_discovery": {"alternate_address": A.EDGE_ALTERNATE, "alternate_port": 3492}},
        "relay": {"addresses": [A.EDGE_INSIDE], "ports": "40000-40099"},
    }
    edge = start_edge(merged(listeners(3490, 3491), {"edge": outside, "telemetry": {"listen": "127.0.0.1:9651"}}))

    def answered_from(port):
        with lab.host("inside").socket() as client:
            client.settimeout(1.0)
            message = Message(BINDING, attributes=[(CHANGE_REQUEST, struct.pack("!I", 6))])
            client.sendto(message.encode(), (A.EDGE_INSIDE, port))
            try:
                return client.recvfrom(2000)[1]
            except TimeoutError:
                return None

    assert answered_from(3490) == (A.EDGE_ALTERNATE, 3492)
    done = edge.metrics().sum("postern_edge_configuration_reloads_total")
    edge.reload(merged(edge.config, listeners(3491, 3490)))
    await_that(lambda: edge.metrics().sum("postern_edge_configuration_reloads_total") > done, what="the reload")
    assert answered_from(3491) == (A.EDGE_ALTERNATE, 3492)
    assert answered_from(3490) == (A.EDGE_INSIDE, 3490), "a refusal: it has no other address any more"
    edge.stop()


def test_without_the_setting_change_request_and_response_port_get_420(lab, start_edge):
    edge = start_edge(
        {
            "edge": {
                **{"udp": [f"{A.EDGE_INSIDE}:3490"], "tcp": [], "tls": [], "nat_discovery": None},
                "relay": {"addresses": [A.EDGE_INSIDE], "ports": "40000-40099"},
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        }
    )
    for attribute in ((CHANGE_REQUEST, struct.pack("!I", 2)), (RESPONSE_PORT, struct.pack("!HH", 9999, 0))):
        with Wire(lab.host("inside"), (A.EDGE_INSIDE, 3490)) as wire:
            answer = binding(wire, attribute)
            assert (answer.kind, answer.error) == (ERROR, 420)
    edge.stop()
