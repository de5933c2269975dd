"""A client that moved (RFC 8016) counts where it is: its new listener stays for it, and the old one need not."""

import struct
import time

from edge_process import await_that, merged
from natlab import Addresses
from stun import LIFETIME, MOBILITY_TICKET, REFRESH, SUCCESS, Wire

A = Addresses
OLD, NEW = f"{A.EDGE}:3478", f"{A.EDGE}:3500"


def test_a_removed_listener_serves_the_client_that_moved_to_it(lab, start_edge):
    edge = start_edge({"edge": {"mobility": True, "udp": [OLD, NEW]}})
    client = edge.client(lab.host("crowd"))
    ticket = client.allocate((MOBILITY_TICKET, b"")).first(MOBILITY_TICKET)
    client.wire.close()
    client.wire, client.nonce = Wire(lab.host("crowd"), (A.EDGE, 3500)), None
    with client.wire:
        moved = client.request(REFRESH, [(LIFETIME, struct.pack("!I", 600)), (MOBILITY_TICKET, ticket)])
        assert moved.kind == SUCCESS

        edge.reload(merged(edge.config, {"edge": {"udp": [f"{A.EDGE}:3501"]}}))

        def bound(address):
            return address in lab.host("edge").run("ss", "-Hlnu").stdout

        await_that(lambda: not bound(OLD), what="the end of the listener that nobody uses")
        # Removed listeners are looked at once a second.
        time.sleep(1.5)
        assert bound(NEW)
        assert client.refresh(600).kind == SUCCESS
        assert client.refresh(0).kind == SUCCESS
        await_that(lambda: not bound(NEW), what="the end of the listener that its last client left")
    edge.stop()
