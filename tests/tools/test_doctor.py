"""`postern doctor` from behind every NAT: it passes where media flows, and only there."""

import json
import time

import pytest

from edge_process import SECRET
from natlab import KINDS, Addresses
from stun import classic_token

A = Addresses


def doctor(lab, binary, authority, host, servers, *options, token=None, timeout=60):
    username, password = token or classic_token(SECRET, "doctor")
    command = [binary, "doctor", "--username", username, "--password", password, "--ca", authority.certificate]
    for server in servers:
        command += ["--server", server]
    return host.run(*command, *options, timeout=timeout)


SERVERS_4 = [f"turn:{A.EDGE}:3478", f"turn:{A.EDGE}:3478?transport=tcp", f"turns:{A.EDGE}:443"]
SERVERS_6 = [f"turn:[{A.EDGE_6}]:3478", f"turn:[{A.EDGE_6}]:3478?transport=tcp", f"turns:[{A.EDGE_6}]:443"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_from_behind_every_nat(lab, edge, binary, authority, kind):
    servers = SERVERS_6 if kind == "ipv6-only" else SERVERS_4
    done = doctor(lab, binary, authority, lab.endpoint("a", kind), servers, "--seconds", 2)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_it_passes_on_each_transport_alone(lab, edge, binary, authority, transport):
    host = lab.endpoint("a", "symmetric")
    done = doctor(lab, binary, authority, host, SERVERS_4, "--seconds", 2, "--transport", transport)
    assert done.returncode == 0, done.stdout


def test_its_json_tells_loss_jitter_and_round_trip(lab, edge, binary, authority):
    host = lab.endpoint("a", "port-restricted")
    done = doctor(lab, binary, authority, host, SERVERS_4, "--seconds", 2, "--json")
    assert done.returncode == 0, done.stdout
    text = json.dumps(json.loads(done.stdout))
    assert all(word in text for word in ("loss", "jitter", "round_trip"))


def test_a_wrong_password_fails_and_the_remedy_is_told(lab, edge, binary, authority):
    token = (classic_token(SECRET, "doctor")[0], "wrong")
    done = doctor(lab, binary, authority, lab.host("peer"), SERVERS_4[:1], "--seconds", 1, token=token)
    assert done.returncode != 0 and "401" in done.stdout


def test_a_server_that_is_not_there_fails(lab, edge, binary, authority):
    done = doctor(lab, binary, authority, lab.host("peer"), ["turn:203.0.113.99:3478"], "--seconds", 1)
    assert done.returncode != 0


def test_a_relay_that_loses_everything_fails(lab, edge, binary, authority):
    """All control messages pass; media towards the peers does not."""
    host = lab.host("edge")
    host.nft(
        "table inet lossy {\n chain output {\n type filter hook output priority 0;\n"
        "udp sport 50000-59999 drop\n udp dport 50000-59999 drop\n }\n }\n"
    )
    try:
        done = doctor(lab, binary, authority, lab.endpoint("a", "symmetric"), SERVERS_4[:1], "--seconds", 1)
        assert done.returncode != 0, done.stdout
    finally:
        host.nft("delete table inet lossy\n")


def test_a_filtered_first_port_of_tls_does_not_hold_up_the_second(lab, edge, binary, authority):
    """Only 443 goes through: the silence of 5349 must not cost what it takes to give a port up."""
    host, took = lab.endpoint("a", "udp-blocked"), []
    for server in (f"turns:{A.EDGE}:443", f"turns:{A.EDGE}"):
        began = time.monotonic()
        done = doctor(lab, binary, authority, host, [server], "--seconds", 1)
        took.append(time.monotonic() - began)
        assert done.returncode == 0 and f"{A.EDGE}:443 answers" in done.stdout, done.stdout
    assert took[1] - took[0] < 4.0, f"{took} s:\n{done.stdout}"


def test_a_certificate_that_fails_beside_media_that_flows_is_no_pass(lab, edge, start_edge, binary, authority):
    certificate, key = authority.issue("too-late", ["edge.example.test", A.EDGE_ALTERNATE], days=-1)
    other = start_edge(
        {
            "edge": {
                **{"udp": [], "tcp": [], "tls": [f"{A.EDGE_ALTERNATE}:443"]},
                **{"certificate": certificate, "private_key": key},
                "relay": {"addresses": [A.EDGE_ALTERNATE], "ports": "40000-40099"},
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        }
    )
    servers = [f"turn:{A.EDGE}:3478?transport=udp", f"turns:{A.EDGE_ALTERNATE}:443"]
    done = doctor(lab, binary, authority, lab.endpoint("a", "symmetric"), servers, "--seconds", 1)
    assert done.returncode != 0, done.stdout
    assert done.stdout.strip().endswith("FAILED: see above; media flowed both ways over udp/ipv4"), done.stdout
    other.stop()


def test_an_expired_certificate_is_told_and_does_not_pass_for_tls(lab, start_edge, binary, authority):
    certificate, key = authority.issue("expired", ["edge.example.test", A.EDGE_ALTERNATE], days=-1)
    edge = start_edge(
        {
            "edge": {
                **{"udp": [], "tcp": [], "tls": [f"{A.EDGE_ALTERNATE}:443"]},
                **{"certificate": certificate, "private_key": key},
                "relay": {"addresses": [A.EDGE_ALTERNATE], "ports": "40000-40099"},
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        }
    )
    done = doctor(lab, binary, authority, lab.host("peer"), [f"turns:{A.EDGE_ALTERNATE}:443"], "--seconds", 1)
    assert done.returncode != 0 and "expired" in done.stdout.lower(), done.stdout
    edge.stop()
