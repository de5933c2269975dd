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
# The greeting is of beeps; after this the tone is over, and the words have begun.
SPEAKING_SECS = 4.2


@pytest.fixture(scope="module")
def edges():
    return ("edge", "edge-second")


def speaking(phones, user, target, said, host=FIRST, **options):
    """A caller in the middle of the words."""
    caller = phones(Baresip, *host, user, **options).start(speech.after_greeting(said))
    caller.call(target)
    time.sleep(SPEAKING_SECS)
    return caller


def test_a_recycle_lets_a_call_end_in_its_slot_and_takes_the_next_in_the_other(service, phones, words, hear):
    number, said = service.mailbox(), words("While I speak the worker is replaced, and nobody notices anything of it")
    before = service.workers()
    caller = speaking(phones, "2201", f"sip:{number}@{TCP}", said)
    service.um.signal(signal.SIGHUP)
    caller.await_end()
    first = service.await_record(caller="2201")
    hear(number, said)
    assert service.await_record(caller=number)["slot"] != first["slot"]
    await_that(lambda: len(service.workers()) == 1 and service.workers() != before, 15, "the end of the old worker")


def test_killing_the_um_service_costs_no_call(service, phones, words, hear):
    number, said = service.mailbox(), words("The service above the workers dies now, but the call goes on to its end")
    before = service.workers()
    caller = speaking(phones, "2202", f"sip:{number}@{TCP}", said)
    service.um.signal(signal.SIGKILL)
    service.um.wait()
    caller.await_end()
    service.await_record(caller="2202", called=number)
    assert service.workers() == before, "the workers live on"
    service.um.start()
    assert service.workers() == before, "and are adopted"
    hear(number, said)


def test_killing_a_worker_keeps_what_was_said_until_then(service, phones, words, hear):
    number, said = service.mailbox(), words("One two three four five six seven eight nine ten eleven twelve")
    caller = speaking(phones, "2203", f"sip:{number}@{TCP}", said)
    (pid,) = service.workers().values()
    os.kill(pid, signal.SIGKILL)
    died = time.monotonic()
    caller.stop()
    await_that(lambda: pid not in service.workers().values() and service.um.status("/readyz") == 200, 5, "another worker")
    assert time.monotonic() - died < 4
    # The words began 3 s after the call; what came in the last 200 ms may be lost.
    hear(number, said[: round((SPEAKING_SECS - 3.0 - 0.4) * speech.RATE)])


def test_the_death_of_an_edge_keeps_the_message_and_new_calls_use_the_other(service, office, phones, words, hear):
    user, password = classic_token(SECRET, "caller")
    host = ("a-port-restricted", office.address_of("a", "port-restricted"))

    def outside(edge):
        turn = ["medianat=ice", f"stunuser={user}", f"stunpass={password}", f'stunserver="turn:{edge}:3478"']
        return {"transport": "tls", "media": turn, "certificate": service.certificate("caller"), "dns": "203.0.113.1"}

    number, said = service.mailbox(), words("The relay dies while I speak, so the end of this may well be missing")
    target = f"sip:{number}@{A.GATE}:5061;transport=tls"
    caller = speaking(phones, "2204", target, said, host, **outside(A.EDGE))
    service.edges["edge"].signal(signal.SIGKILL)
    # baresip knows no restart of ICE: either media still finds a way, or the call ends.
    caller.await_end(60)
    record = service.await_record(caller="2204", mailbox=number, timeout=60)
    assert "message" in record, record
    caller.stop()
    hear(number, said[: speech.RATE // 2])

    number, said = service.mailbox(), words("The other edge carries this one")
    later = phones(Baresip, *host, "2205", **outside(A.EDGE_SECOND))
    later.leave(f"sip:{number}@{A.GATE}:5061;transport=tls", said)
    assert service.await_record(caller="2205")["edge"].startswith(A.EDGE_SECOND_INSIDE)
    hear(number, said)
