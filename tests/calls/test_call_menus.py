"""Menus by RFC 4733 digits of a real phone, with the prompts as they come with the product."""

import time

import pytest

import speech
from baresip import Baresip
from conftest import FIRST, SECOND
from natlab import OfficeAddresses
from service import PILOT, PIN

A = OfficeAddresses
TCP = f"{A.ROUTER}:5060;transport=tcp"


@pytest.fixture(scope="module")
def service_changes():
    return {"mailbox": {"prompts": None}}


def leave(phones, number, said, user):
    """Leaves a message: `#` skips the greeting, and the words come after the tone."""
    caller = phones(Baresip, *FIRST, user).start(speech.after_greeting(said, 2.5))
    caller.call(f"sip:{number}@{TCP}")
    time.sleep(0.7)
    caller.press("#")
    caller.await_end()


def test_a_deleted_message_is_not_heard_again(service, phones, words):
    number, said = service.mailbox(), words("Please delete this after you have heard it")
    leave(phones, number, said, "2401")
    owner = phones(Baresip, *SECOND, number).start()
    owner.call(f"sip:{PILOT}@{TCP}")
    owner.log_on()
    owner.listen_for(said, 30)
    owner.press("7*")
    owner.hang_up()
    owner.forget()
    owner.call(f"sip:{number}@{TCP}")  # one's own number is as good as the pilot
    owner.log_on()
    time.sleep(6)
    owner.hang_up()
    assert speech.find(owner.heard(), said).correlation < 0.4
    assert speech.rms(owner.heard()) > 0.01, "prompts were heard instead"


def test_callers_hear_the_greeting_that_the_owner_recorded(service, phones, words):
    number, greeting = service.mailbox(), words("This is Alice, I am in the garden and will call you back")
    owner = phones(Baresip, *SECOND, number).start(speech.numpy.concatenate([speech.silence(8), greeting, speech.silence(40)]))
    owner.call(f"sip:{PILOT}@{TCP}")
    time.sleep(0.5)
    owner.press(PIN + "#")
    owner.press("61")
    # It speaks eight seconds into its media; by then the tone is long over.
    owner.await_said(8 + len(greeting) / speech.RATE + 0.5)
    owner.press("#")
    time.sleep(0.5)
    owner.press("1")
    time.sleep(1.0)
    owner.hang_up()
    caller = phones(Baresip, *FIRST, "2402").start()
    caller.call(f"sip:{number}@{TCP}")
    caller.listen_for(greeting, 15)
    caller.hang_up()
