"""Ports and quotas against clients that reserve, move, reconnect and rename themselves."""

import time

import pytest

from edge_process import GENEROUS, await_that
from natlab import Addresses
from stun import ALLOCATE, EVEN_PORT, RESERVATION_TOKEN, SUCCESS, classic_token

A = Addresses
QUOTA, PORTS = 4, 40


@pytest.fixture(scope="module")
def edge_changes():
    return {
        "edge": GENEROUS
        | {
            "shards": 4,
            "mobility": True,
            "relay": {"ports": f"50000-{50000 + PORTS - 1}"},
            "auth": {"allocations_per_identity": QUOTA},
        }
    }


def free(edge):
    return edge.metrics().sum("postern_edge_relay_ports_free", family="ipv4")


@pytest.fixture
def pool_is_whole(edge):
    """Every port is back when the test is over."""
    await_that(lambda: free(edge) == free_at_rest(edge), what="the pool at rest")
    yield
    await_that(lambda: free(edge) == free_at_rest(edge), timeout=15, what="every port back in the pool")


def free_at_rest(edge):
    return edge.metrics().sum("postern_edge_relay_ports", family="ipv4")


@pytest.mark.parametrize("transport, family", [("udp", 4), ("tcp", 4), ("tls", 4), ("udp", 6), ("tcp", 6), ("tls", 6)])
def test_the_quota_goes_by_name_not_by_timestamp(lab, edge, pool_is_whole, transport, family):
    clients = []
    for number in range(QUOTA + 2):
        client = edge.client(lab.host("peer"), f"greedy-{transport}{family}", transport, family, ttl=3600 + number)
        clients.append((client, client.allocate()))
    assert [answer.error for _, answer in clients] == [None] * QUOTA + [486] * 2
    modest = edge.client(lab.host("peer"), "modest")
    with modest.wire:
        assert modest.allocate().kind == SUCCESS
        modest.refresh(0)
    assert clients[0][0].refresh(0).kind == SUCCESS
    assert clients[-1][0].allocate().kind == SUCCESS, "the unit is back at once"
    for client, _ in clients:
        client.refresh(0)
        client.wire.close()


def test_even_port_with_reservation_counts_and_comes_back(lab, edge, pool_is_whole):
    for _ in range(3 * PORTS):
        client = edge.client(lab.host("peer"), "even")
        with client.wire:
            answer = client.allocate((EVEN_PORT, b"\x80"))
            assert answer.kind == SUCCESS and client.relay[1] % 2 == 0
            second = edge.client(lab.host("peer"), "even")
            with second.wire:
                taken = second.allocate((RESERVATION_TOKEN, answer.first(RESERVATION_TOKEN)))
                assert taken.kind == SUCCESS and second.relay[1] == client.relay[1] + 1
                second.refresh(0)
            client.refresh(0)


def test_reservations_that_nobody_redeems_come_back_after_30_seconds(lab, edge, pool_is_whole):
    clients = []
    for number in range(QUOTA):
        client = edge.client(lab.host("peer"), "hoarder")
        assert client.allocate((EVEN_PORT, b"\x80")).kind == SUCCESS
        clients.append(client)
    await_that(lambda: free(edge) == free_at_rest(edge) - 2 * QUOTA, what="two ports held by each")
    for client in clients:
        client.refresh(0)
        client.wire.close()
    await_that(lambda: free(edge) == free_at_rest(edge), timeout=40, what="reserved ports back", interval=0.5)


def test_even_port_without_reservation_keeps_no_second_port(lab, edge, pool_is_whole):
    before = free(edge)
    client = edge.client(lab.host("peer"), "plain")
    with client.wire:
        assert client.allocate((EVEN_PORT, b"\x00")).kind == SUCCESS
        await_that(lambda: free(edge) != before, what="the port in the metric")
        assert free(edge) == before - 1
        client.refresh(0)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_cut_connections_give_ports_and_quota_back(lab, edge, pool_is_whole, transport):
    for _ in range(5):
        clients = [edge.client(lab.host("peer"), f"cutter-{transport}", transport) for _ in range(QUOTA)]
        for client in clients:
            answer = await_that(
                lambda: (answer := client.allocate()) and answer.error != 486 and answer, what="a unit of the quota"
            )
            assert answer.kind == SUCCESS
        for client in clients:
            client.wire.close()


def test_the_whole_range_is_used_before_508(lab, edge, pool_is_whole):
    clients, errors = [], []
    for number in range(PORTS + 5):
        client = edge.client(lab.host("peer"), f"user{number}")
        answer = client.allocate()
        (clients if answer.kind == SUCCESS else errors).append(client if answer.kind == SUCCESS else answer.error)
    assert (len(clients), errors) == (free_at_rest(edge), [508] * 5)
    assert sorted({client.relay[1] for client in clients}) == list(range(50000, 50000 + PORTS))
    for client in clients:
        client.refresh(0)
        client.wire.close()


def test_a_released_port_rests_before_it_is_used_again(lab, edge, pool_is_whole):
    client = edge.client(lab.host("peer"), "first")
    with client.wire:
        assert client.allocate().kind == SUCCESS
        resting = client.relay[1]
        client.refresh(0)
    for number in range(PORTS // 2):
        other = edge.client(lab.host("peer"), f"next{number}")
        with other.wire:
            assert other.allocate().kind == SUCCESS
            assert other.relay[1] != resting
            other.refresh(0)


def test_names_without_identity_share_the_quota_of_their_address(lab, edge, pool_is_whole):
    clients = []
    for number in range(QUOTA + 1):
        client = edge.client(lab.host("peer"), None, ttl=3600 + number, bind=A.PEER)
        clients.append((client, client.allocate()))
    assert [answer.error for _, answer in clients] == [None] * QUOTA + [486]
    elsewhere = edge.client(lab.host("peer"), None, bind=A.PEER_SECOND)
    assert elsewhere.allocate().kind == SUCCESS
    for client in [client for client, _ in clients] + [elsewhere]:
        client.refresh(0)
        client.wire.close()
