"""Processes that end or are replaced while somebody speaks: what was said is kept."""

import os
import signal
import time

import pytest

import speech
from baresip import Baresip
from conftest import FIRST
from edge_process import SECRET, await_that
from natlab import OfficeAddresses
from stun import classic_token

A = OfficeAddresses
TCP = f"{A.ROUTER}:5060;transport=tcp"
# The greeting is of beeps, and lasts less than this.
GREETING_SECS = 4.0
SPOKEN_SECS = 2.0


@pytest.fixture(scope="module")
def edges():
    return ("edge", "edge-second")


def speaking(phones, user, target, said, host=FIRST, **options):
    """A caller in the middle of the words."""
    caller = phones(Baresip, *host, user, **options).start(speech.after_greeting(said, GREETING_SECS))
    caller.call(target)
    caller.await_said(GREETING_SECS + SPOKEN_SECS)
    return caller


def test_a_recycle_lets_a_call_end_in_its_worker_and_gives_the_next_to_a_fresh_one(service, phones, words, hear):
    number, said = service.mailbox(), words("While I speak the worker is replaced, and nobody notices")
    caller = speaking(phones, "2201", f"sip:{number}@{TCP}", said)
    before = set(service.await_workers().values())
    pid, slot = service.busy_worker()
    service.um.signal(signal.SIGHUP)
    await_that(lambda: set(service.workers().values()) - before, what="a fresh worker")
    assert service.workers()[slot] == pid, "the call goes on where it is"
    caller.await_end()
    hear(number, said)
    assert service.await_record(caller="2201")["slot"] != service.await_record(caller=number)["slot"]
    await_that(lambda: pid not in service.workers().values(), what="the end of the old worker")


def test_killing_the_um_service_costs_no_call(service, phones, words, hear):
    number, said = service.mailbox(), words("The service above the workers dies now, but the call goes on to its end")
    before = service.await_workers()
    caller = speaking(phones, "2202", f"sip:{number}@{TCP}", said)
    service.um.signal(signal.SIGKILL)
    service.um.wait()
    caller.await_end()
    service.await_record(caller="2202", called=number)
    assert service.workers() == before, "the workers live on"
    service.um.start()
    assert service.workers() == before, "and are adopted"
    # The routers took the service for dead, and ask again after a moment.
    service.await_routes()
    hear(number, said)


def test_killing_a_worker_keeps_what_was_said_until_then(service, phones, words, hear):
    number, said = service.mailbox(), words("One two three four five six seven eight nine ten eleven twelve")
    service.await_workers()
    caller = speaking(phones, "2203", f"sip:{number}@{TCP}", said)
    pid, _ = service.busy_worker()
    os.kill(pid, signal.SIGKILL)
    await_that(lambda: pid not in service.workers().values(), what="the end of the worker")
    assert pid not in service.await_workers().values()
    caller.stop()
    # What came in the last 200 ms may be lost, and the phone's own buffers count besides.
    hear(number, said[: round((SPOKEN_SECS - 1.0) * speech.RATE)])


def test_a_worker_that_is_held_up_takes_nothing_for_lost_that_has_come(service, phones, words, hear):
    number, said = service.mailbox(), words("The machine stands still for a moment while I speak these words")
    caller = speaking(phones, "2206", f"sip:{number}@{TCP}", said)
    pid, _ = service.busy_worker()
    for _ in range(2):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
    caller.await_end()
    hear(number, said)


def test_the_death_of_an_edge_keeps_the_message_and_new_calls_use_the_other(service, office, phones, words, hear):
    user, password = classic_token(SECRET, "caller")
    host = ("a-port-restricted", office.address_of("a", "port-restricted"))
    gate = f"{A.GATE}:443;transport=tls"

    def outside(edge):
        turn = ["medianat=ice", f"stunuser={user}", f"stunpass={password}", f'stunserver="turn:{edge}:3478"']
        certificate = service.certificate("caller")
        return {"transport": "tls", "media": turn, "certificate": certificate, "dns": "203.0.113.1"}

    # The relay that both lean on dies in the middle of the words.
    number, said = service.mailbox(), words("The relay dies while I speak, so the end of this is missing")
    with office.direct_udp_blocked("a", "port-restricted"):
        caller = speaking(phones, "2204", f"sip:{number}@{gate}", said, host, **outside(A.EDGE))
        service.edges["edge"].signal(signal.SIGKILL)
        # baresip knows no restart of ICE, and hangs up when it has said everything.
        caller.await_end(40)
        record = service.await_record(caller="2204", called=number, timeout=40)
    assert "message" in record, record
    caller.stop()
    hear(number, said[: speech.RATE])

    number, said = service.mailbox(), words("The other edge carries this one")
    phones(Baresip, *host, "2205", **outside(A.EDGE_SECOND)).leave(f"sip:{number}@{gate}", said)
    assert "relay" in (service.await_record(caller="2205")["ice_local"], service.await_record(caller="2205")["ice_remote"])
    hear(number, said)
