"""SIPp as a gateway at a proxy-mode router: what gateways do to a call besides placing it."""

import re

import pytest

import speech
from edge_process import await_that
from gateway import Gateway, Line, answered, asked, ended, go, label, pause, play, receive, refused, sdp, told_apart
from natlab import OfficeAddresses
from service import OPERATOR, PILOT

A = OfficeAddresses
GATE = f"{A.GATE_INSIDE}:5060"
# The greeting is of beeps; after this the tone is over.
GREETING_SECS = 3.0


@pytest.fixture(scope="module")
def edges():
    return ("edge",)


@pytest.fixture
def gateway(office, tool, tmp_path):
    tool("sipp")
    return Gateway(office.host("gateway"), tmp_path, A.GATEWAY)


def spoken(gateway, samples):
    """Steps that say it, and last as long."""
    return [play(gateway.says(f"says-{len(samples)}", samples)), pause(len(samples) / speech.RATE + 0.2)]


def test_options_are_answered_by_router_um_service_and_worker(service, gateway):
    for target in (GATE, f"{A.ROUTER}:5060", f"{A.INSIDE}:5062", f"{A.INSIDE}:5065"):
        messages = gateway.run([Line("1", uri=f"sip:{target}").options(), receive(200)], target)
        assert re.search(r"^Allow:.*INVITE", messages, re.MULTILINE), messages


def test_a_proxied_call_leaves_a_message(service, gateway, words, hear, tmp_path):
    number, said = service.mailbox(), words("This is the lift company, we come tomorrow at nine")
    line = Line(number, "3001")
    gateway.run([*answered(line), pause(GREETING_SECS), *spoken(gateway, said), *ended(line)], GATE)
    hear(number, said)
    [file] = service.export(number, tmp_path / "messages")
    exported = speech.find(speech.read_wav(file)[0], said)
    assert exported.correlation > 0.9, exported
    assert service.export(number, tmp_path / "messages") == [], "it is there already"


def test_an_invite_without_sdp_is_answered_with_an_offer(service, gateway, words, hear):
    number, said = service.mailbox(), words("The offer came in the answer, and the answer with the acknowledgement")
    line = Line(number, "3002")
    steps = answered(line, body="", ack=sdp())
    gateway.run([*steps, pause(GREETING_SECS), *spoken(gateway, said), *ended(line)], GATE)
    assert service.await_record(caller="3002")["codec"] == "PCMU"
    hear(number, said)


def test_a_cancelled_call_ends_with_487_or_is_hung_up_when_the_answer_was_faster(service, gateway):
    line = Line(service.mailbox(), "3003")
    begin, ack, bye = line.invite(), line.ack(), line.bye()
    # CANCEL's 200 and the INVITE's final answer may come in either order.
    steps = [
        *(begin, line.cancel(1), receive(100, optional=True), receive(487, optional=True, branch="refused-first")),
        *(told_apart(200, "INVITE", "answered"), receive(487, optional=True, branch="refused")),
        *(receive(200), ack, bye, receive(200), go("over")),
        *(label("refused-first"), line.ack_refusal(1), receive(200), go("over")),
        # The answers to CANCEL and BYE.
        *(label("answered"), ack, bye, receive(200), receive(200), go("over")),
        *(label("refused"), line.ack_refusal(1), label("over")),
    ]
    # An answer that comes before SIPp has sent its CANCEL is passed over, and comes again.
    messages = gateway.run(steps, GATE, options=("-default_behaviors", "all,-abortunexp"))
    assert "SIP/2.0 302" not in messages, "where calls go on is not the caller's to know"
    await_that(lambda: service.calls() == 0, what="the end of the call")


def test_on_hold_nothing_is_recorded_and_afterwards_it_goes_on(service, gateway, words, hear):
    number = service.mailbox()
    before, held, after = words("Wait a moment please"), words("Nobody should ever hear this"), words("I am back again")
    line = Line(number, "3004")
    steps = [*answered(line), pause(GREETING_SECS), *spoken(gateway, before)]
    steps += [line.again(sdp("sendonly", 2)), receive(100, optional=True), receive(200), line.ack()]
    steps += [*spoken(gateway, held)]
    steps += [line.again(sdp("sendrecv", 3)), receive(100, optional=True), receive(200), line.ack()]
    steps += [*spoken(gateway, after), *ended(line)]
    messages = gateway.run(steps, GATE)
    assert messages.count("a=recvonly") + messages.count("a=inactive") == 1, messages
    heard = hear(number, after).heard()
    assert speech.find(heard, before).is_heard, speech.find(heard, before)
    assert speech.find(heard, held).correlation < 0.4, "what was said on hold"


def test_another_codec_in_the_middle_changes_neither_speed_nor_length(service, gateway, words, hear):
    number, said = service.mailbox(), words("First I spoke wide band, and now I do no more")
    line = Line(number, "3011")
    steps = [*answered(line, sdp(codec="G722"))]
    steps += [line.again(sdp(version=2)), receive(100, optional=True), receive(200), line.ack()]
    gateway.run([*steps, pause(GREETING_SECS), *spoken(gateway, said), *ended(line)], GATE)
    assert service.await_record(caller="3011")["codec"] == "PCMU"
    hear(number, said)


def test_digits_by_info_end_a_recording_and_accept_it(service, gateway, words, hear):
    number, said = service.mailbox(), words("Pressing pound ends it and one accepts it")
    line = Line(number, "3005")
    steps = [*answered(line), pause(GREETING_SECS), *spoken(gateway, said)]
    for key in "#1":
        steps += [line.info(key), receive(200), pause(0.6)]
    # Thanks and goodbye are said, then the worker hangs up.
    steps += [asked("BYE"), line.answer("200 OK")]
    gateway.run(steps, GATE)
    assert "message" in service.await_record(caller="3005")
    hear(number, said)


def test_who_asks_for_the_operator_is_transferred(service, gateway):
    line = Line(service.mailbox(), "3006")
    steps = [*answered(line), pause(0.5), line.info("0"), receive(200)]
    steps += [asked("REFER"), line.answer("202 Accepted")]
    for status, ends in (("100 Trying", False), ("200 OK", True)):
        steps += [line.notify(status, ends), receive(200)]
    steps += [asked("BYE"), line.answer("200 OK")]
    messages = gateway.run(steps, GATE)
    assert re.search(rf"^Refer-To: <sip:{OPERATOR}@", messages, re.MULTILINE), messages


@pytest.mark.parametrize("reason, why", [("no-answer", "no-answer"), ("user-busy", "busy")])
def test_a_diverted_call_to_the_pilot_reaches_the_mailbox_of_who_diverted(service, gateway, reason, why):
    number = service.mailbox()
    line = Line(PILOT, "3007" + reason[:2])
    diversion = f"Diversion: <sip:{number}@{A.GATEWAY}>;reason={reason}\n"
    gateway.run([*answered(line, headers=diversion), pause(1.0), *ended(line)], GATE)
    record = service.await_record(caller="3007" + reason[:2])
    assert (record["called"], record["reason"]) == (number, why), record


def test_a_caller_who_hangs_up_at_the_greeting_leaves_no_message(service, gateway):
    line = Line(service.mailbox(), "3008")
    gateway.run([*answered(line), pause(0.3), *ended(line)], GATE)
    assert "message" not in service.await_record(caller="3008")


def test_a_number_without_a_mailbox_hears_so_and_is_hung_up(service, gateway):
    line = Line("5999", "3009")
    gateway.run([*answered(line), asked("BYE"), line.answer("200 OK")], GATE)
    assert "message" not in service.await_record(caller="3009")


def test_a_diversion_that_went_round_too_often_is_a_loop(service, gateway):
    diversions = "".join(f"Diversion: <sip:4{number:03}@{A.GATEWAY}>;reason=no-answer\n" for number in range(11))
    gateway.run(refused(Line(PILOT, "3010"), 482, diversions), GATE)
