"""Calls from behind NATs: SIP by TLS to a proxy-mode router at the perimeter, media by ICE through the edge."""

import contextlib
import socket
import time

import pytest

from baresip import Baresip
from edge_process import SECRET
from names import Names
from natlab import OfficeAddresses
from service import OUTSIDE_NAMES, PILOT, REPEAT
from stun import classic_token

A = OfficeAddresses
# Kinds that let UDP out, which is how baresip reaches TURN. Not ipv6-only: over IPv6 it asks for an IPv4 relay, and fails
# to send its own checks through it.
KINDS = ("endpoint-independent", "address-restricted", "port-restricted", "symmetric", "double")
# Media begins when ICE has a way; from there on, until the tone is over.
GREETING_SECS = 4.5
MEDIA = {"rtp": [], "sdes": ["mediaenc=srtp-mand"], "dtls": ["mediaenc=dtls_srtp"]}
ALL = [(kind, blocked, keying, port) for kind in KINDS for blocked in (False, True) for keying in MEDIA for port in (5061, 443)]
# Each kind, each protection and each port, direct UDP blocked and not.
SOME = {
    ("endpoint-independent", False, "dtls", 443),
    ("address-restricted", True, "sdes", 5061),
    ("port-restricted", True, "dtls", 443),
    ("symmetric", True, "rtp", 5061),
    ("symmetric", False, "sdes", 443),
    ("double", True, "sdes", 443),
}


@pytest.fixture(scope="module")
def edges():
    return ("edge",)


def by_turn(keying):
    """baresip's settings for media by ICE with a relay of the edge."""
    user, password = classic_token(SECRET, "caller")
    turn = ["medianat=ice", f"stunuser={user}", f"stunpass={password}", f'stunserver="turn:{A.EDGE}:3478"']
    return turn + MEDIA[keying]


def outside_phone(service, office, phones, kind, user, keying, side="a"):
    host, address = f"{side}-{kind}", office.address_of(side, kind)
    return phones(
        *(Baresip, host, address, user),
        transport="tls",
        media=by_turn(keying),
        certificate=service.certificate("caller"),
        dns="203.0.113.1",
    )


@pytest.mark.parametrize(
    "kind, blocked, keying, port",
    [
        pytest.param(*each, marks=() if each in SOME else pytest.mark.long, id="-".join(map(str, each)))
        for each in ALL
    ],
)
def test_a_call_from_behind_a_nat_leaves_a_message_through_the_edge(
    service, office, phones, words, hear, kind, blocked, keying, port
):
    number, said = service.mailbox(), words(f"I am calling from behind a {kind} network, hear me well")
    with office.direct_udp_blocked("a", kind) if blocked else contextlib.nullcontext():
        caller = outside_phone(service, office, phones, kind, "2101", keying)
        caller.leave(f"sip:{number}@{A.GATE}:{port};transport=tls", said, GREETING_SECS)
    record = service.await_record(caller="2101", called=number)
    assert record["keying"] == keying, record
    assert "relay" in (record["ice_local"], record["ice_remote"]), record
    assert "no_audio_received" not in record and "no_audio_sent" not in record, record
    hear(number, said)


def test_an_owner_behind_a_symmetric_nat_hears_what_was_left_outside(service, office, phones, words):
    number, said = service.mailbox(), words("Both of us are outside, and the mailbox is inside")
    caller = outside_phone(service, office, phones, "port-restricted", "2102", "sdes")
    caller.leave(f"sip:{number}@{A.GATE}:443;transport=tls", said, GREETING_SECS)
    owner = outside_phone(service, office, phones, "symmetric", number, "sdes", side="b").start()
    owner.call(f"sip:{PILOT}@{A.GATE}:443;transport=tls")
    owner.log_on()
    owner.listen_for(said, again=REPEAT)
    owner.hang_up()


def test_a_call_by_port_443_alone_stands_and_ends_and_says_why_nothing_was_heard(service, office, phones):
    address = office.address_of("a", "udp-blocked")
    resolver = address.rpartition(".")[0] + ".1"
    names = Names(office.host("a-udp-blocked-nat"), resolver, OUTSIDE_NAMES)
    try:
        phone = phones(
            *(Baresip, "a-udp-blocked", address, "2103"),
            transport="tls",
            certificate=service.certificate("caller"),
            dns=resolver,
        ).start()
        phone.call(f"sip:{service.mailbox()}@{A.GATE}:443;transport=tls")
        time.sleep(2.0)
        phone.hang_up()
    finally:
        names.close()
    record = service.await_record(caller="2103")
    assert (record["drop_cause"], record["no_audio_received"]) == ("caller_hung_up", "nothing_received"), record
    assert record["duration_secs"] > 1, "its ACK came by the same port"


def test_the_outside_reaches_nothing_of_the_inside_but_the_gates_tls_ports(service, office):
    host = office.endpoint("a", "port-restricted")
    reached = set()
    targets = [(A.GATE, port) for port in (443, 5060, 5061, 9642)]
    targets += [(A.GATE_INSIDE, 5061), (A.ROUTER, 5060), (A.INSIDE, 5062), (A.INSIDE, 5065)]
    for target in targets:
        with host.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(0.5)
            with contextlib.suppress(OSError):
                client.connect(target)
                reached.add(target)
    assert reached == {(A.GATE, 443), (A.GATE, 5061)}
