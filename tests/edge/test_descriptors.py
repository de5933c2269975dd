"""Descriptors run short: each socket counts, and strangers take none from allocations."""

import contextlib

from edge_process import GENEROUS, await_that
from natlab import Addresses
from stun import EVEN_PORT, SUCCESS

A = Addresses
LIMIT = 320
# The reserve of 256, and an eighth of the limit for connections that have said nothing yet.
PLACES = LIMIT - 256 - LIMIT // 8


def test_a_reserved_port_takes_a_descriptor_of_the_budget(lab, start_edge):
    edge = start_edge({"edge": GENEROUS}, prefix=("prlimit", f"--nofile={LIMIT}:{LIMIT}", "--"))
    with contextlib.ExitStack() as stack:

        def allocate(*attributes):
            client = edge.client(lab.host("peer"), f"user{len(stack._exit_callbacks)}")
            stack.enter_context(client.wire)
            return client.allocate(*attributes)

        pairs = 0
        while (answer := allocate((EVEN_PORT, b"\x80"))).kind == SUCCESS:
            pairs += 1
            assert pairs < LIMIT
        assert answer.error == 508
        assert pairs == PLACES // 2
    edge.stop()


def test_silent_connections_leave_descriptors_to_allocations(lab, start_edge):
    limits = GENEROUS["limits"] | {"handshakes_per_source": LIMIT}
    edge = start_edge({"edge": {"limits": limits}}, prefix=("prlimit", f"--nofile={LIMIT}:{LIMIT}", "--"))
    with contextlib.ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(edge.wire(lab.host("crowd"), "tcp"))
        await_that(lambda: edge.metrics().sum("postern_edge_streams_half_open") == LIMIT // 8, what="the limit for all")
        clients = [edge.client(lab.host("peer"), f"user{number}") for number in range(PLACES)]
        for client in clients:
            stack.enter_context(client.wire)
            assert client.allocate().kind == SUCCESS
    edge.stop()
