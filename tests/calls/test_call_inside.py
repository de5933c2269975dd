"""Calls from the inside network in redirect mode: two hops to a worker, a message left, and retrieved by PIN."""

import itertools

import pytest

from baresip import Baresip
from conftest import FIRST, SECOND
from linphone import Linphone
from natlab import OfficeAddresses
from service import DOMAIN, PILOT

A = OfficeAddresses
TCP = f"{A.ROUTER}:5060;transport=tcp"
TLS = f"router.{DOMAIN}:5061;transport=tls"
# How phones are told to protect media, and how a record calls that.
BARESIP_MEDIA = {"rtp": [], "sdes": ["mediaenc=srtp-mand"], "dtls": ["mediaenc=dtls_srtp"]}
LINPHONE_MEDIA = {"rtp": "none", "sdes": "srtp", "dtls": "dtls"}


def assert_left_and_heard(service, caller, number, said, hear, by=TCP, keying="rtp", **owner):
    caller.leave(f"sip:{number}@{by}", said)
    record = service.await_record(caller=caller.user, called=number)
    assert (record["codec"], record["keying"]) == ("PCMU", keying), record
    hear(number, said, **owner)


def test_two_redirects_lead_to_a_worker_and_the_message_is_heard_as_it_was_spoken(service, phones, words, hear):
    number, said = service.mailbox(), words("Please call me back about the garden fence before Friday")
    caller = phones(Baresip, *FIRST, "2001")
    assert_left_and_heard(service, caller, number, said, hear)
    assert caller.log().count("SIP/2.0 302") == 2, "one by the router and one by the UM service"


@pytest.mark.parametrize("keying", LINPHONE_MEDIA)
def test_linphone_leaves_a_message_and_hears_it(service, phones, words, hear, keying):
    number, said = service.mailbox(), words("The train leaves at seven, so be at the station by half past six")
    caller = phones(Linphone, *FIRST, "2002", encryption=LINPHONE_MEDIA[keying])
    assert_left_and_heard(
        service, caller, number, said, hear, keying=keying, kind=Linphone, encryption=LINPHONE_MEDIA[keying]
    )


@pytest.mark.parametrize("keying", ["sdes", "dtls"])
def test_srtp_is_taken_over_tcp_where_the_plan_asks_for_no_security(service, phones, words, hear, keying):
    number, said = service.mailbox(), words("There is a parcel for you at the front desk")
    caller = phones(Baresip, *FIRST, "2003", media=BARESIP_MEDIA[keying])
    assert_left_and_heard(service, caller, number, said, hear, keying=keying)


# A plan that wants mutual TLS, and one that wants SRTP besides; the phone's certificate says which is its own.
SECURED = [("phone", "sealed", keying) for keying in BARESIP_MEDIA]
SECURED += [("secure-phone", "secret", keying) for keying in ("sdes", "dtls")]
DEFAULT = {("phone", "sealed", "rtp"), ("secure-phone", "secret", "dtls")}


@pytest.mark.parametrize(
    "certificate, plan, keying",
    [each if each in DEFAULT else pytest.param(*each, marks=pytest.mark.long) for each in SECURED],
)
def test_a_secured_plan_is_reached_by_mutual_tls_at_every_hop(
    service, phones, words, hear, certificate, plan, keying
):
    number, said = service.mailbox(plan), words("The new keys are in the blue envelope")
    secured = {
        "transport": "tls",
        "certificate": service.certificate(certificate),
        "dns": A.INSIDE,
        "media": BARESIP_MEDIA[keying],
    }
    caller = phones(Baresip, *FIRST, "2004", **secured)
    assert_left_and_heard(
        service, caller, number, said, hear, TLS, keying, target=f"sip:{PILOT}@{TLS}", **secured
    )
    assert caller.log().count("SIP/2.0 302") == 2


def test_a_plan_that_wants_srtp_refuses_plain_rtp(service, phones):
    phone = phones(
        Baresip, *FIRST, "2005", transport="tls", certificate=service.certificate("secure-phone"), dns=A.INSIDE
    ).start()
    assert phone.refused(f"sip:{service.mailbox('secret')}@{TLS}").startswith("488")


def test_tls_without_a_name_of_a_secured_plan_belongs_to_the_plan_of_its_address(service, phones, words, hear):
    number, said = service.mailbox(), words("Somebody left the lights of a red car on")
    phone = phones(Baresip, *FIRST, "2006", transport="tls", certificate=service.certificate("caller"), dns=A.INSIDE)
    assert_left_and_heard(service, phone, number, said, hear, TLS)


# Everything that a phone can do, with what the default run leaves out.
PRODUCT = list(itertools.product(BARESIP_MEDIA, ("tcp", "tls"), LINPHONE_MEDIA))


@pytest.mark.long
@pytest.mark.parametrize("left, transport, heard", PRODUCT, ids=["-".join(each) for each in PRODUCT])
def test_what_one_stack_leaves_the_other_hears(service, phones, words, hear, left, transport, heard):
    number, said = service.mailbox(), words("The quick brown fox jumps over the lazy dog again and again")
    secured = {"certificate": service.certificate("caller"), "dns": A.INSIDE} if transport == "tls" else {}
    caller = phones(Baresip, *FIRST, "2007", transport=transport, media=BARESIP_MEDIA[left], **secured)
    assert_left_and_heard(
        service,
        caller,
        number,
        said,
        hear,
        TLS if transport == "tls" else TCP,
        left,
        kind=Linphone,
        encryption=LINPHONE_MEDIA[heard],
        place=SECOND,
    )
