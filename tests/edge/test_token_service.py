"""The A/V authentication service: mutual TLS, an allow-list of names, tokens that the relay takes."""

import http.client
import json
import signal
import ssl

import pytest

from certificates import Authority
from edge_process import SECRET, await_that, merged
from natlab import Addresses
from stun import SUCCESS, TurnClient, Wire, classic_token

A = Addresses
PORT = 8443


@pytest.fixture(scope="module")
def internal(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("internal"))
    authority.issue("edge-internal", [A.EDGE_INSIDE, "edge.internal.test"])
    authority.issue("worker", ["worker.example.test"])
    authority.issue("other", ["other.example.test"])
    return authority


@pytest.fixture(scope="module")
def edge_changes(internal):
    directory = internal.directory
    return {
        "edge": {
            "tokens": {
                "listen": f"{A.EDGE_INSIDE}:{PORT}",
                "certificate": directory / "edge-internal.pem",
                "private_key": directory / "edge-internal.key",
                "client_ca": internal.certificate,
                "allowed_names": ["worker.example.test"],
                "intranet": [f"turn:{A.EDGE_INSIDE}:3478"],
            },
            "drain": {"alternate": [{"address": f"{A.STUN}:3478", "domain": "edge2.example.test"}]},
        }
    }


class Caller:
    """Somebody inside with a certificate."""

    def __init__(self, lab, internal, name="worker", authority=None):
        self.host = lab.host("inside")
        self.tls = ssl.create_default_context(cafile=internal.certificate)
        if name is not None:
            directory = (authority or internal).directory
            self.tls.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")

    def request(self, method, path, body=None):
        with self.host.entered():
            connection = http.client.HTTPSConnection(A.EDGE_INSIDE, PORT, context=self.tls, timeout=5)
            connection.connect()
        try:
            content = body if isinstance(body, (str, type(None))) else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def token(self, **wanted):
        body = {"identity": "alice", "location": "internet", "duration_secs": 3600} | wanted
        status, text = self.request("POST", "/v1/tokens", body)
        return status, json.loads(text) if status == 200 else text


@pytest.fixture
def caller(lab, edge, internal):
    return Caller(lab, internal)


def test_a_token_of_the_service_opens_an_allocation(lab, edge, caller):
    status, answer = caller.token()
    assert status == 200 and answer["realm"] == "example.test"
    assert 3590 <= answer["lifetime_secs" if "lifetime_secs" in answer else "lifetime"] <= 3600
    with edge.wire(lab.host("peer")) as wire:
        client = TurnClient(wire, answer["username"], answer["password"])
        assert client.allocate().kind == SUCCESS
        client.refresh(0)


def test_the_answer_holds_ice_servers_as_browsers_take_them(edge, caller):
    _, answer = caller.token()
    (server,) = answer["iceServers"]
    assert server["username"] == answer["username"] and server["credential"] == answer["password"]
    assert any(url.startswith("turn:") for url in server["urls"])
    assert any(url.startswith("turns:") and "transport=tcp" in url for url in server["urls"])


def test_each_location_gets_its_relays(edge, caller):
    outside, inside = caller.token()[1], caller.token(location="intranet")[1]
    (url,) = inside["iceServers"][0]["urls"]
    assert url.removesuffix("?transport=udp") == f"turn:{A.EDGE_INSIDE}:3478"
    assert f"turns:{A.EDGE}:443?transport=tcp" in outside["iceServers"][0]["urls"]
    # The inside listener is one of the edge's, and none of the internet's.
    assert all(A.EDGE_INSIDE not in url for url in outside["iceServers"][0]["urls"])


def test_claims_narrow_what_a_token_may_do(lab, edge, caller):
    status, answer = caller.token(peers=[f"{A.PEER}/32"], allocations=1, call_id="call-7", bitrate_bps=1_000_000)
    assert status == 200 and answer["username"].startswith("p1.2026a.")
    with edge.wire(lab.host("crowd")) as wire, edge.wire(lab.host("crowd")) as another:
        client = TurnClient(wire, answer["username"], answer["password"])
        assert client.allocate().kind == SUCCESS
        assert client.permit(A.PEER).kind == SUCCESS
        assert client.permit(A.PEER_SECOND).error == 403
        second = TurnClient(another, answer["username"], answer["password"])
        assert second.allocate().error == 486
        client.refresh(0)
    await_that(lambda: edge.log_lines("call-7"), what="the call id in the log")


def test_a_bitrate_claim_drops_and_counts_the_excess(lab, edge, caller):
    _, answer = caller.token(identity="thrifty", bitrate_bps=64_000)
    before = edge.metrics().sum("postern_edge_drops_total", reason="bitrate")
    with edge.wire(lab.host("crowd")) as wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        peer.settimeout(0.5)
        client = TurnClient(wire, answer["username"], answer["password"])
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        for _ in range(500):
            client.send_channel(0x4000, bytes(1000))
        got = 0
        try:
            while peer.recv(2000):
                got += 1
        except TimeoutError:
            pass
        assert 1 <= got < 250
        dropped = edge.metrics().sum("postern_edge_drops_total", reason="bitrate") - before
        assert dropped == 500 - got
        client.refresh(0)


@pytest.mark.parametrize(
    "wanted",
    [
        {"identity": ""},
        {"identity": "a\r\nb"},
        {"identity": 5},
        {"location": "moon"},
        {"duration_secs": -1},
        {"duration_secs": 0},
        {"duration_secs": "3600"},
        {"peers": ["nonsense"]},
        {"bitrate_bps": 0},
        {"allocations": 0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_nonsense_is_refused_and_counted(edge, caller, wanted):
    before = edge.metrics().sum("postern_edge_tokens_refused_total")
    status, text = caller.token(**wanted)
    assert 400 <= status < 500, text
    assert edge.metrics().sum("postern_edge_tokens_refused_total") == before + 1


def test_a_body_that_is_no_json_or_far_too_long_is_refused(edge, caller):
    for body in ("", "{", "[]", '{"identity": "' + "a" * 20_000 + '"}'):
        status, _ = caller.request("POST", "/v1/tokens", body)
        assert 400 <= status < 500
    try:
        status, _ = caller.request("POST", "/v1/tokens", '{"identity": "' + "a" * (1 << 20) + '"}')
        assert status == 413
    except (ssl.SSLError, ConnectionError):
        pass  # cut off in the middle of so long a body
    assert caller.token()[0] == 200


def test_durations_beyond_the_limit_are_cut(edge, caller):
    _, answer = caller.token(duration_secs=10_000_000)
    assert answer["lifetime_secs" if "lifetime_secs" in answer else "lifetime"] <= 28800


def test_a_name_that_is_not_on_the_list_gets_no_token(lab, edge, internal):
    status, _ = Caller(lab, internal, "other").token()
    assert status == 403
    assert edge.metrics().sum("postern_edge_tokens_refused_total", reason="name_not_allowed") >= 1


def test_without_a_certificate_of_the_authority_the_handshake_fails(lab, edge, internal, tmp_path):
    stranger = Authority(tmp_path)
    stranger.issue("worker", ["worker.example.test"])
    for caller in (Caller(lab, internal, None), Caller(lab, internal, "worker", stranger)):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            caller.token()


def test_each_issue_is_one_audit_line_without_the_secret(edge, caller):
    _, answer = caller.token(identity="audited-person")
    lines = await_that(lambda: edge.log_lines("audited-person"), what="an audit line")
    assert len(lines) == 1 and "worker.example.test" in lines[0]
    assert answer["password"] not in edge.log()


def test_the_openapi_document_describes_the_service(edge, caller):
    for path in ("/openapi.json", "/v1/openapi.json"):
        status, text = caller.request("GET", path)
        if status == 200:
            break
    document = json.loads(text)
    assert document["openapi"].startswith("3.") and "/v1/tokens" in document["paths"]


def test_a_caller_beyond_its_rate_gets_429(lab, edge, internal):
    caller = Caller(lab, internal)
    with caller.host.entered():
        connection = http.client.HTTPSConnection(A.EDGE_INSIDE, PORT, context=caller.tls, timeout=5)
        connection.connect()
    body = json.dumps({"identity": "eager", "location": "internet", "duration_secs": 60})
    statuses = []
    for _ in range(400):
        connection.request("POST", "/v1/tokens", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert set(statuses) == {200, 429} and statuses[0] == 200


def test_while_draining_the_service_names_the_alternates(lab, start_edge, edge_changes, internal, edge):
    config = merged(
        edge_changes,
        {
            "edge": {
                **{"udp": [f"{A.EDGE_ALTERNATE}:3478"], "tcp": [], "tls": []},
                "relay": {"addresses": [A.EDGE_ALTERNATE], "ports": "40000-40099"},
                "tokens": {"listen": f"{A.EDGE_INSIDE}:{PORT + 1}", "internet": [f"turn:{A.EDGE_ALTERNATE}:3478"]},
                "drain": {
                    "alternate": [
                        {"address": f"{A.STUN}:3478", "domain": "edge2.example.test"},
                        {"address": f"{A.STUN}:443", "domain": "edge2.example.test", "transports": ["tls"]},
                    ]
                },
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        },
    )
    draining = start_edge(config)
    with Wire(lab.host("peer"), (A.EDGE_ALTERNATE, 3478)) as wire:
        client = TurnClient(wire, *classic_token(SECRET))
        assert client.allocate().kind == SUCCESS
        draining.signal(signal.SIGTERM)
        await_that(lambda: draining.status("/readyz") == 503, what="/readyz 503")
        caller = Caller(lab, internal)
        with caller.host.entered():
            connection = http.client.HTTPSConnection(A.EDGE_INSIDE, PORT + 1, context=caller.tls, timeout=5)
            connection.connect()
        body = {"identity": "alice", "location": "internet", "duration_secs": 60}
        connection.request("POST", "/v1/tokens", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        # What this edge's likes serve: TCP on the port where this one has none is not made up.
        assert json.loads(text)["iceServers"][0]["urls"] == [
            "turn:edge2.example.test:3478?transport=udp",
            "turns:edge2.example.test:443?transport=tcp",
        ]
        client.refresh(0)
