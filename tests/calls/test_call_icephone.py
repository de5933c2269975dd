"""Calls of a phone of ours: media by TCP and by TLS where no UDP gets out, and by the other edge when one dies."""

import contextlib
import signal
import time

import pytest

import speech
from icephone import IcePhone
from natlab import OfficeAddresses
from service import PILOT, Service

A = OfficeAddresses
GATE = f"{A.GATE}:443;transport=tls"
BY_TCP, BY_TCP_SECOND, BY_TLS = (A.EDGE, 3478, False), (A.EDGE_SECOND, 3478, False), (A.EDGE, 443, True)
EDGES = {A.EDGE: "edge", A.EDGE_SECOND: "edge-second"}
# From the death of an edge to the worker's offer of another way: 3 s, and one more for a machine that is loaded.
OFFER_SECS = 3.0 + 1.0


@pytest.fixture
def service(office, authority, binary, tmp_path):
    """One for each test: edges that died are not soon trusted again."""
    service = Service(office, tmp_path / "service", authority)
    try:
        yield service.start(EDGES.values())
        service.assert_sound()
    finally:
        service.stop()


@pytest.fixture
def phone(service, office, phones):
    """Makes a phone behind a NAT of this kind, with these relays."""

    def make(kind, user, *relays):
        certificate = service.certificate("caller")
        return phones(IcePhone, f"a-{kind}", office.address_of("a", kind), user, certificate=certificate, relays=relays)

    return make


def assert_relayed(service, user):
    """The call's media went by the phone's relay, and both sides were heard."""
    record = service.await_record(caller=user)
    assert record["ice_remote"] == "relay", record
    assert "no_audio_received" not in record and "no_audio_sent" not in record, record


def test_a_caller_whose_network_lets_no_udp_out_leaves_a_message_by_tcp(service, office, phone, words, hear):
    number, said = service.mailbox(), words("Not one datagram of mine gets out, and yet you hear me")
    with office.udp_blocked("a", "port-restricted"):
        phone("port-restricted", "2401", BY_TCP).leave(f"sip:{number}@{GATE}", said)
    assert_relayed(service, "2401")
    hear(number, said)


def test_port_443_alone_is_enough_to_leave_a_message_and_to_hear_it(service, phone, words):
    number, said = service.mailbox(), words("One port of TCP is all that my network allows me")
    phone("udp-blocked", "2402", BY_TLS).leave(f"sip:{number}@{GATE}", said)
    assert_relayed(service, "2402")
    owner = phone("udp-blocked", number, BY_TLS).start()
    owner.call(f"sip:{PILOT}@{GATE}")
    owner.log_on()
    owner.listen_for(said)
    owner.hang_up()
    assert service.await_record(caller=number)["ice_remote"] == "relay"


@pytest.mark.parametrize("leaning", ["phone", "worker"])
def test_words_go_on_by_the_other_edge_when_theirs_dies(service, office, phones, phone, words, hear, leaning):
    number = service.mailbox()
    before = words("These words come by the edge that is going to die")
    meanwhile = words("Nobody needs to hear any of these, since they fall into the hole that its death leaves")
    after = words("And these words come by the other edge, which lives")
    with contextlib.ExitStack() as stack:
        if leaning == "phone":
            stack.enter_context(office.udp_blocked("a", "port-restricted"))
            caller = phone("port-restricted", "2403", BY_TCP, BY_TCP_SECOND)
        else:
            # It is reached from everywhere and needs no relay, but nothing leads from the inside to it.
            caller = phones(IcePhone, "peer", A.PEER, "2404", certificate=service.certificate("caller"))
        caller.start()
        way = caller.call(f"sip:{number}@{GATE}")
        first = caller.say(speech.after_greeting(before))
        caller.say(meanwhile)
        caller.await_said(first)
        # What is still under way arrives.
        time.sleep(0.5)
        through = "local" if leaning == "phone" else "remote"
        service.edges[EDGES[way[through]]].signal(signal.SIGKILL)
        died = time.monotonic()
        offered, *_ = caller.await_event("restart")
        _, other_way = caller.await_event("connected", count=2)
        caller.say(speech.after_greeting(after, 0.5))
        caller.await_said()
        caller.hang_up()
    assert {way[through], other_way[through]} == EDGES.keys()
    assert offered - died < OFFER_SECS
    record = service.await_record(caller=caller.user)
    assert record["drop_cause"] == "caller_hung_up", record
    assert record["ice_remote" if leaning == "phone" else "ice_local"] == "relay", record
    assert "no_audio_received" not in record and "no_audio_sent" not in record, record
    heard = hear(number, after).heard()
    assert speech.find(heard, before).is_heard, speech.find(heard, before)
