"""A shard uses the numbers of its streams again: what concerns a stream that is gone touches no other."""

import socket

import pytest

from natlab import Addresses
from stun import CONNECTION_BIND, CONNECTION_ID, SUCCESS, TCP_TRANSPORT

A = Addresses


@pytest.fixture(scope="module")
def edge_changes():
    return {"edge": {"shards": 1}}


def test_the_end_of_a_data_connection_leaves_the_stream_that_came_after_it_alone(lab, edge):
    control = edge.client(lab.host("crowd"), "piper", "tcp")
    with control.wire, lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((A.PEER, 0))
        listener.listen()
        listener.settimeout(5.0)
        assert control.allocate(transport=TCP_TRANSPORT).kind == SUCCESS
        connected = control.connect(listener.getsockname())
        assert connected.kind == SUCCESS
        peer = listener.accept()[0]
        data = edge.client(lab.host("crowd"), "piper", "tcp")
        data.username, data.password = control.username, control.password
        data.realm, data.nonce = control.realm, control.nonce
        bound = data.request(CONNECTION_BIND, [(CONNECTION_ID, connected.first(CONNECTION_ID))])
        assert bound.kind == SUCCESS
        # The data connection is a pipe by now, and its number as a stream is free.
        bystander = edge.client(lab.host("crowd"), "bystander", "tcp")
        with peer, data.wire, bystander.wire:
            assert bystander.allocate().kind == SUCCESS
            assert control.refresh(0).kind == SUCCESS
            peer.settimeout(5.0)
            assert peer.recv(1) == b"", "the allocation's end closes its connections"
            assert bystander.refresh(600).kind == SUCCESS
