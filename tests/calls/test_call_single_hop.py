"""A router that names the worker itself, known from the UM service's answer to OPTIONS; and the same by UDP."""

import re

import pytest

from baresip import Baresip
from conftest import FIRST
from gateway import Gateway, Line, refused
from natlab import OfficeAddresses

A = OfficeAddresses
HOP = f"{A.ROUTER}:5070"


@pytest.fixture(scope="module")
def hop(service):
    """One more router, on the host of the first."""
    router = service.another_router("hop", HOP, "single-hop", udp=[HOP]).start()
    service.await_routes(router)
    yield router
    router.stop()


def test_one_redirect_leads_to_the_worker(service, hop, phones, words, hear):
    number, said = service.mailbox(), words("One hop is enough for me to find the one who listens")
    caller = phones(Baresip, *FIRST, "2501")
    caller.leave(f"sip:{number}@{HOP};transport=tcp", said)
    assert caller.log().count("SIP/2.0 302") == 1
    hear(number, said)


def test_a_gateway_that_asks_by_udp_is_sent_to_the_worker_over_tcp(service, hop, office, tool, tmp_path):
    tool("sipp")
    gateway = Gateway(office.host("gateway"), tmp_path, A.GATEWAY)
    messages = gateway.run(refused(Line(service.mailbox(), "2502"), 302), HOP, options=("-t", "u1"))
    assert "SIP/2.0/UDP" in messages and "SIP/2.0/TCP" not in messages
    [contact] = re.findall(r"^Contact: (<sip:.*@10.20.0.20:.*>.*)$", messages, re.MULTILINE)
    assert re.search(r":(5065|5067);transport=tcp", contact), contact
