"""What the foreign clients talk to: coturn's echo peer on the segment."""

import re
import subprocess

import pytest

from edge_process import await_that
from natlab import Addresses

ECHO_PORT = 3480


@pytest.fixture(scope="module")
def echo_peer(lab, tool):
    """`turnutils_peer` on both families; it sends back whatever comes, over UDP and TCP."""
    host, addresses = lab.host("peer"), (Addresses.PEER, Addresses.PEER_6)
    command = [tool("turnutils_peer"), "-p", ECHO_PORT]
    for address in addresses:
        command += ["-L", address]
    process = host.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listening():
        assert process.poll() is None
        lines = host.run("ss", "-Hlnu").stdout
        return all(re.search(rf"{re.escape(address)}\]?:{ECHO_PORT}\b", lines) for address in addresses)

    await_that(listening, what="turnutils_peer")
    yield host
    process.kill()
    process.wait()
