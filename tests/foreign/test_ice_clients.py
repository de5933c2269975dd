"""ICE stacks that others wrote, allowed relayed candidates only: every byte passes the edge."""

import base64
import hashlib
import json
import os
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edge_process import REPOSITORY, SECRET
from natlab import Addresses
from stun import classic_token

A = Addresses
CLIENTS = os.path.join(REPOSITORY, "tests", "clients")
INSTALLED = os.environ.get("CLIENTS", os.path.join(REPOSITORY, "target", "tests", "clients"))


def run_client(host, command, arguments, environment=(), timeout=60):
    done = host.run(
        *command,
        json.dumps(arguments),
        timeout=timeout,
        stderr=subprocess.PIPE,
        env=os.environ | dict(environment),
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


# name -> (kind of NAT, server, port, transport, TLS)
AIOICE = {
    "udp": ("symmetric", A.EDGE, 3478, "udp", False),
    "tcp": ("port-restricted", A.EDGE, 3478, "tcp", False),
    "tls_where_udp_is_blocked": ("udp-blocked", A.EDGE, 443, "tcp", True),
    "ipv6_udp": ("ipv6-only", A.EDGE_6, 3478, "udp", False),
    "ipv6_tcp": ("ipv6-only", A.EDGE_6, 3478, "tcp", False),
    "ipv6_tls": ("ipv6-only", A.EDGE_6, 443, "tcp", True),
}


@pytest.mark.parametrize("form", AIOICE)
def test_aioice_talks_from_relay_to_relay(lab, edge, authority, form):
    kind, server, port, transport, tls = AIOICE[form]
    username, password = classic_token(SECRET, "aioice")
    result = run_client(
        lab.endpoint("a", kind),
        [sys.executable, os.path.join(CLIENTS, "aioice_call.py")],
        {
            "server": server,
            "port": port,
            "transport": transport,
            "tls": tls,
            "username": username,
            "password": password,
            "messages": 50,
        },
        {"SSL_CERT_FILE": str(authority.certificate)},
    )
    assert (result["local"], result["remote"], result["received"]) == ("relay", "relay", 100)
    assert result["relay"][0] == A.EDGE


@pytest.mark.parametrize("kind", ["port-restricted", "symmetric", "double"])
def test_libjuice_talks_from_relay_to_relay(lab, edge, tool, kind):
    """libjuice speaks TURN over UDP and IPv4 only."""
    username, password = classic_token(SECRET, "juice")
    result = run_client(
        lab.endpoint("a", kind),
        [tool("node"), os.path.join(CLIENTS, "datachannel_call.mjs")],
        {"server": A.EDGE, "port": 3478, "username": username, "password": password, "messages": 50},
        {"CLIENTS": INSTALLED},
    )
    assert result["received"] == 50
    assert result["candidates"] and all(" typ relay" in candidate for candidate in result["candidates"])
    assert (result["local"], result["remote"]) == ("relay", "relay")


CHROMIUM = {
    "udp": ("symmetric", f"turn:{A.EDGE}:3478?transport=udp", "udp"),
    "tcp": ("port-restricted", f"turn:{A.EDGE}:3478?transport=tcp", "tcp"),
    "tls_where_udp_is_blocked": ("udp-blocked", f"turns:{A.EDGE}:443?transport=tcp", "tls"),
    "ipv6_udp": ("ipv6-only", f"turn:[{A.EDGE_6}]:3478?transport=udp", "udp"),
    "ipv6_tls": ("ipv6-only", f"turns:[{A.EDGE_6}]:443?transport=tcp", "tls"),
}


@pytest.mark.parametrize("form", CHROMIUM)
def test_chromium_sends_audio_and_video_from_relay_to_relay(lab, edge, tool, form):
    kind, url, protocol = CHROMIUM[form]
    username, password = classic_token(SECRET, "chromium")
    with open(edge.config["edge"]["certificate"], "rb") as file:
        public_key = x509.load_pem_x509_certificate(file.read()).public_key()
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    result = run_client(
        lab.endpoint("a", kind),
        [tool("node"), os.path.join(CLIENTS, "browser_call.mjs")],
        {
            "urls": url,
            "username": username,
            "credential": password,
            "seconds": 20,
            "spki": base64.b64encode(hashlib.sha256(spki).digest()).decode(),
        },
        {"CLIENTS": INSTALLED, "CHROMIUM": tool("chromium")},
    )
    assert result["connected"], result
    assert (result["local"], result["remote"], result["protocol"]) == ("relay", "relay", protocol), result
    assert result["audio_packets"] > 50 and result["video_packets"] > 10, result
    assert result["bytes_sent"] > 10_000 and result["bytes_received"] > 10_000, result
