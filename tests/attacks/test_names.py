"""Hostile USERNAME and REALM: one clean log line, no new metric series, a proper answer."""

import re

import pytest

from edge_process import GENEROUS, SECRET, await_that
from natlab import Addresses
from stun import (
    ALLOCATE,
    ERROR,
    NONCE,
    REALM,
    REQUESTED_TRANSPORT,
    SUCCESS,
    UDP_TRANSPORT,
    USERNAME,
    Message,
    classic_token,
    decode,
    long_term_key,
)

A = Addresses

HOSTILE = {
    "line_break": b"alice\r\n2026-01-01T00:00:00Z ERROR forged: line\r\n",
    "escape_codes": b"\x1b[2J\x1b]0;owned\x07\x1b[31malice",
    "format": b"%n%s%x%n{}{0}${jndi:ldap://x}",
    "nul": b"alice\x00root",
    "not_utf8": b"\xff\xfe\xfd",
    "bidi": "alice\u202eecila\u2066".encode(),
    "quotes": b'alice"} 1\n# HELP x\nx{a="',
    "very_long": b"A" * 4096,
    "longest": b"B" * 508,
    "empty": b"",
}


@pytest.fixture(scope="module")
def edge_changes():
    # Each case asks several times without credentials, more often than a source is answered.
    return {"telemetry": {"log": "debug"}, "edge": GENEROUS}


def clean(text):
    """No control characters but line ends, and no line that does not start as log lines do."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069\ufffd]", text)


@pytest.mark.parametrize("transport, family", [("udp", 4), ("tcp", 4), ("tls", 4), ("udp", 6)])
@pytest.mark.parametrize("attribute", [USERNAME, REALM], ids=["username", "realm"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_leaves_one_clean_line_and_no_series(lab, edge, transport, family, attribute, name):
    client = edge.client(lab.host("peer"), transport=transport, family=family)
    with client.wire:
        client.challenge()
        series, lines = set(edge.metrics().series), len(edge.log().splitlines())
        message = Message(ALLOCATE, attributes=[(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
        message.attributes += [
            (USERNAME, HOSTILE[name] if attribute == USERNAME else client.username.encode()),
            (REALM, HOSTILE[name] if attribute == REALM else client.realm.encode()),
            (NONCE, client.nonce),
        ]
        data = message.encode(key=client.key)
        client.wire.send(data)
        frame = client.wire.receive(2.0)
        if frame is not None:
            answer = decode(frame)
            assert (answer.kind, answer.error in (400, 401)) == (ERROR, True)
            assert len(HOSTILE[name]) < 8 or HOSTILE[name] not in answer.raw
        # A second request, answered, proves that the first was dealt with.
        client.challenge()
        assert set(edge.metrics().series) == series
        log = edge.log()
        clean(log)
        about = [line for line in log.splitlines()[lines:] if "alice" in line or "AAAA" in line or "forged" in line]
        assert len(about) <= 1


def test_a_hostile_identity_with_a_valid_token_is_logged_in_one_clean_line(lab, edge):
    """The issuer signs whatever identity it is asked for; the log stays readable all the same."""
    for identity in ("mal\r\nlory forged", "mal\x1b[31mlory", "mal\x00lory", "mal\u202elory", "%n%n%s"):
        client = edge.client(lab.host("peer"), identity)
        with client.wire:
            answer = client.allocate()
            if answer is not None and answer.kind == SUCCESS:
                client.refresh(0)
        clean(edge.log())
        assert not [line for line in edge.log().splitlines() if line.startswith("lory forged")]


def test_log_lines_hold_neither_secrets_nor_passwords(lab, edge):
    client = edge.client(lab.host("peer"), "carol")
    with client.wire:
        assert client.allocate().kind == SUCCESS
        client.refresh(0)
    await_that(lambda: "carol" in edge.log(), what="the allocation's record")
    key = long_term_key(client.username, client.realm, client.password)
    for secret in (SECRET, client.password, key.hex(), classic_token(SECRET, "carol")[1]):
        assert secret not in edge.log()
