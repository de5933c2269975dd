"""Reload: all or nothing, named when refused, and it bites on the living."""

import json
import os
import shutil
import signal
import socket
import ssl
import time

import pytest

from certificates import Authority
from edge_process import SECRET, await_that, merged
from natlab import Addresses
from stun import SUCCESS, TCP_TRANSPORT, TurnClient, Wire, binding, classic_token, insecure_tls

A = Addresses
GENERATION = "postern_edge_configuration_generation"
GOOD = "postern_edge_configuration_last_reload_successful"


@pytest.fixture
def edge(start_edge, edge_changes):
    """A fresh edge for each test: reloads leave traces."""
    edge = start_edge(edge_changes)
    yield edge
    assert edge.process.poll() is None, edge.log()[-4000:]
    edge.stop()


def reload(edge, changes, accepted=True):
    """Reloads with changes to the running configuration and returns once the result is published."""
    before = edge.metrics()
    edge.reload(merged(edge.config, changes))
    done = before.sum("postern_edge_configuration_reloads_total")
    await_that(
        lambda: edge.metrics().sum("postern_edge_configuration_reloads_total") > done, what="the reload's result"
    )
    after = edge.metrics()
    assert after.sum(GOOD) == (1 if accepted else 0), edge.log()[-2000:]
    assert after.sum(GENERATION) == before.sum(GENERATION) + (1 if accepted else 0)


def relays(client, peer, marker):
    """Whether media passes both ways between a client with channel 0x4000 and a peer's socket."""
    peer.settimeout(0.5)
    client.send_channel(0x4000, marker)
    try:
        outward = peer.recvfrom(2000)[0] == marker
    except TimeoutError:
        outward = False
    peer.sendto(marker, client.relay)
    inward = client.receive(0.5) == (0x4000, marker)
    return outward, inward


@pytest.fixture
def call(lab, edge):
    """A client with a channel to a peer's socket, media flowing."""
    client = edge.client(lab.host("crowd"))
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        assert relays(client, peer, b"before") == (True, True)
        yield client, peer


def test_a_peer_denied_by_reload_loses_permission_and_channel_within_a_second(edge, call):
    client, peer = call
    reload(edge, {"edge": {"relay": {"deny_peers": [f"{A.PEER}/32"]}}})
    time.sleep(1.0)
    assert relays(client, peer, b"after") == (False, False)
    assert client.permit(A.PEER).error == 403
    assert client.permit(A.PEER_SECOND).kind == SUCCESS


def test_media_that_stays_allowed_goes_on_through_a_reload(edge, call):
    client, peer = call
    for number in range(5):
        reload(edge, {"edge": {"auth": {"allocations_per_identity": 10 + number}}})
        assert relays(client, peer, b"%d" % number) == (True, True)


def test_a_tcp_connection_to_a_peer_denied_by_reload_is_closed(lab, edge):
    client = edge.client(lab.host("crowd"), transport="tcp")
    with client.wire, lab.host("peer").socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((A.PEER, 0))
        listener.listen()
        listener.settimeout(3.0)
        assert client.allocate(transport=TCP_TRANSPORT).kind == SUCCESS
        assert client.connect(listener.getsockname()).kind == SUCCESS
        connection = listener.accept()[0]
        reload(edge, {"edge": {"relay": {"deny_peers": [f"{A.PEER}/32"]}}})
        connection.settimeout(1.5)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass
        connection.close()


def test_an_allocation_whose_key_was_removed_gets_401_and_keeps_flowing_till_its_lifetime(edge, call):
    client, peer = call
    reload(edge, {"edge": {"auth": {"secrets": [{"id": "2026b", "value": "another-secret-of-the-tests"}]}}})
    assert client.refresh(600).error == 401
    assert client.permit(A.PEER_SECOND).error == 401
    assert relays(client, peer, b"till the end") == (True, True)


def test_an_allocation_whose_key_was_removed_ends_at_its_lifetime_with_a_record_that_says_so(lab, start_edge, tmp_path):
    lifetime_secs = 10
    records = tmp_path / "records.jsonl"
    edge = start_edge(
        {"edge": {"auth": {"allocation_lifetime_max_secs": lifetime_secs}, "records": {"file": records}}}
    )
    client = edge.client(lab.host("crowd"), "keyless")
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        began = time.monotonic()
        assert client.allocate().lifetime() == lifetime_secs
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        allocated = time.monotonic()
        reload(edge, {"edge": {"auth": {"secrets": [{"id": "2026b", "value": "another-secret-of-the-tests"}]}}})
        assert client.refresh(600).error == 401
        assert relays(client, peer, b"till the end") == (True, True)

        def ended():
            text = records.read_text()
            assert "allocation_ended" in text or time.monotonic() < allocated + lifetime_secs + 5, "it does not end"
            return "allocation_ended" in text

        await_that(ended, timeout=lifetime_secs + 10, what="the end")
        assert time.monotonic() > began + lifetime_secs, "the refused Refresh has not cut it short"
        assert relays(client, peer, b"after the end") == (False, False)
    assert json.loads(records.read_text().splitlines()[-1])["reason"] == "key_removed"
    assert edge.metrics().sum("postern_edge_allocations_ended_total", reason="key_removed") == 1
    assert edge.metrics().sum("postern_edge_allocations") == 0
    edge.stop()


def test_keys_rotate_with_overlap(lab, edge, call):
    client, peer = call
    new = {"id": "2026b", "value": "another-secret-of-the-tests"}
    reload(edge, {"edge": {"auth": {"secrets": [new, {"id": "2026a", "value": SECRET}]}}})
    assert client.refresh(600).kind == SUCCESS
    for secret in (SECRET, new["value"]):
        other = edge.client(lab.host("crowd"), secret=secret)
        with other.wire:
            assert other.allocate().kind == SUCCESS
            other.refresh(0)


def test_a_lowered_quota_stops_new_allocations_only(lab, edge):
    clients = [edge.client(lab.host("crowd"), "many") for _ in range(4)]
    assert [client.allocate().kind for client in clients] == [SUCCESS] * 4
    reload(edge, {"edge": {"auth": {"allocations_per_identity": 2}}})
    assert [client.refresh(600).kind for client in clients] == [SUCCESS] * 4
    late = edge.client(lab.host("crowd"), "many")
    assert late.allocate().error == 486
    for client in [*clients, late]:
        client.wire.close()


def test_a_new_listener_serves_and_a_removed_one_closes_after_its_last_client(lab, edge, call):
    client, peer = call
    inside = f"{A.EDGE_INSIDE}:3478"
    listeners = {"udp": [f"{A.EDGE}:3500", f"[{A.EDGE_6}]:3478", inside]}
    reload(edge, {"edge": listeners})
    with Wire(lab.host("crowd"), (A.EDGE, 3500)) as wire:
        other = TurnClient(wire, *classic_token(SECRET))
        assert other.allocate().kind == SUCCESS
        other.refresh(0)
    assert relays(client, peer, b"still there") == (True, True)
    assert client.refresh(600).kind == SUCCESS

    def bound():
        return f"{A.EDGE}:3478" in lab.host("edge").run("ss", "-Hlnu").stdout

    assert bound()
    client.refresh(0)
    await_that(lambda: not bound(), what="the removed listener closed")


def test_a_new_listener_on_a_taken_port_changes_nothing_at_all(lab, edge, call):
    client, _ = call
    with lab.host("edge").socket() as taken:
        taken.bind((A.EDGE, 3500))
        changes = {"udp": [f"{A.EDGE}:3478", f"{A.EDGE}:3500"], "auth": {"allocations_per_identity": 1}}
        reload(edge, {"edge": changes}, accepted=False)
    assert edge.log_lines(f"{A.EDGE}:3500")
    second = edge.client(lab.host("crowd"))
    with second.wire:
        assert second.allocate().kind == SUCCESS, "the quota of the refused configuration does not count"
        second.refresh(0)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"edge": {"shards": 3}}, "edge.shards"),
        ({"edge": {"realm": "other.test"}}, "edge.realm"),
        ({"edge": {"relay": {"ports": "50000-50999"}}}, "edge.relay.ports"),
        ({"telemetry": {"log": "debug"}}, "telemetry"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_restart_only_keys_are_named_and_refused(edge, changes, named):
    reload(edge, changes, accepted=False)
    assert edge.log_lines(named)


def test_what_other_roles_of_the_file_need_a_restart_for_is_theirs(edge):
    reload(edge, {"sip": {"connections_max": 8192}, "edge": {"mobility": True}})
    assert edge.log_lines("sip.connections_max"), "it is named as changed"


def test_a_faulty_file_is_refused_with_file_and_line(edge, call):
    client, peer = call
    before = edge.metrics().sum(GENERATION)
    edge.file.write_text("[edge]\nrealm = 5\n")
    edge.signal(signal.SIGHUP)
    await_that(lambda: edge.log_lines("edge.toml:2"), what="file and line in the log")
    await_that(lambda: edge.metrics().sum(GOOD) == 0, what="the failed reload in the metrics")
    assert edge.metrics().sum(GENERATION) == before
    assert relays(client, peer, b"unharmed") == (True, True)


@pytest.fixture
def own_certificate(tmp_path):
    authority = Authority(tmp_path / "authority")
    return authority, *authority.issue("own", ["edge.example.test", A.EDGE])


def served_certificate(lab):
    with Wire(lab.host("peer"), (A.EDGE, 443), "tls", tls=insecure_tls()) as wire:
        assert binding(wire).kind == SUCCESS
        return wire.socket.getpeercert(binary_form=True)


def der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_a_broken_certificate_keeps_the_old_one_and_a_good_one_replaces_it(lab, start_edge, own_certificate):
    authority, certificate, key = own_certificate
    edge = start_edge({"edge": {"certificate": certificate, "private_key": key}})
    first = der(certificate)
    assert served_certificate(lab) == first
    certificate.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    edge.signal(signal.SIGHUP)
    await_that(lambda: edge.metrics().sum(GOOD) == 0, what="the broken pair refused")
    assert served_certificate(lab) == first
    authority.issue("own", ["edge.example.test", A.EDGE])
    edge.signal(signal.SIGHUP)
    await_that(lambda: edge.metrics().sum(GOOD) == 1, what="the good pair taken")
    assert served_certificate(lab) == der(certificate) != first
    edge.stop()


def test_a_key_that_belongs_to_another_certificate_is_refused(lab, start_edge, own_certificate):
    authority, certificate, key = own_certificate
    edge = start_edge({"edge": {"certificate": certificate, "private_key": key}})
    first = der(certificate)
    other = authority.issue("other", ["edge.example.test"])[1]
    shutil.copy(other, key)
    edge.signal(signal.SIGHUP)
    await_that(lambda: edge.metrics().sum(GOOD) == 0, what="the mismatched pair refused")
    assert served_certificate(lab) == first
    edge.stop()


def test_a_renewed_certificate_is_noticed_through_symlinks_without_a_signal(lab, start_edge, tmp_path):
    """As certbot and Kubernetes renew: a link is swapped, the configured path stays."""
    generations = []
    for name in ("one", "two"):
        certificate, key = Authority(tmp_path / name).issue("pair", ["edge.example.test", A.EDGE])
        generations.append(certificate.parent)
    live = tmp_path / "live"
    live.symlink_to(generations[0])
    edge = start_edge({"edge": {"certificate": live / "pair.pem", "private_key": live / "pair.key"}})
    assert served_certificate(lab) == der(generations[0] / "pair.pem")
    os.symlink(generations[1], tmp_path / "next")
    os.replace(tmp_path / "next", live)
    await_that(
        lambda: served_certificate(lab) == der(generations[1] / "pair.pem"), timeout=30, what="the renewed certificate", interval=0.2
    )
    edge.stop()


def test_connections_open_before_a_certificate_change_go_on(lab, start_edge, own_certificate):
    authority, certificate, key = own_certificate
    edge = start_edge({"edge": {"certificate": certificate, "private_key": key}})
    client = edge.client(lab.host("peer"), transport="tls")
    with client.wire:
        assert client.allocate().kind == SUCCESS
        authority.issue("own", ["edge.example.test", A.EDGE])
        edge.signal(signal.SIGHUP)
        await_that(lambda: served_certificate(lab) == der(certificate), what="the new certificate", interval=0.2)
        assert client.refresh(600).kind == SUCCESS
        client.refresh(0)
    edge.stop()


def handshake(lab, address):
    """The TLS version that is agreed on there, None where TLS is not spoken."""
    with lab.host("peer").socket(kind=socket.SOCK_STREAM) as plain:
        plain.settimeout(3.0)
        plain.connect(address)
        try:
            with insecure_tls().wrap_socket(plain) as session:
                return session.version()
        except (ssl.SSLError, OSError):
            return None


def test_two_addresses_change_places_between_tcp_and_tls_in_one_reload(lab, edge):
    client = edge.client(lab.host("crowd"), transport="tls")
    with client.wire:
        assert client.allocate().kind == SUCCESS
        assert (handshake(lab, (A.EDGE, 3478)), handshake(lab, (A.EDGE, 443))) == (None, "TLSv1.3")
        reload(edge, {"edge": {"tcp": [f"{A.EDGE}:443"], "tls": [f"{A.EDGE}:3478"]}})
        assert (handshake(lab, (A.EDGE, 3478)), handshake(lab, (A.EDGE, 443))) == ("TLSv1.3", None)
        for port in (443, 3478):
            with Wire(lab.host("peer"), (A.EDGE, port), "tcp") as wire:
                assert binding(wire).kind == SUCCESS
        assert client.refresh(600).kind == SUCCESS, "a client from before keeps its session"
        reload(edge, {"edge": {"tcp": [f"{A.EDGE}:3478"], "tls": [f"{A.EDGE}:443"]}})
        assert (handshake(lab, (A.EDGE, 3478)), handshake(lab, (A.EDGE, 443))) == (None, "TLSv1.3")


def test_a_udp_address_that_becomes_one_of_dtls_keeps_its_clients_and_takes_no_new_ones(lab, edge, call):
    client, peer = call
    udp = edge.config["edge"]["udp"]
    rest = [address for address in udp if address != f"{A.EDGE}:3478"]
    reload(edge, {"edge": {"udp": rest, "dtls": [f"{A.EDGE}:3478"]}})
    assert relays(client, peer, b"as before") == (True, True)
    assert client.refresh(600).kind == SUCCESS
    with edge.wire(lab.host("peer"), timeout=1.0) as wire:
        assert binding(wire, timeout=1.0) is None
    reload(edge, {"edge": {"udp": udp, "dtls": []}})
    assert relays(client, peer, b"and back") == (True, True)
    with edge.wire(lab.host("peer")) as wire:
        assert binding(wire).kind == SUCCESS


def test_a_refused_reload_leaves_kinds_and_certificate_as_they_were(lab, edge, call, tmp_path):
    """What could be applied comes before what cannot: none of it may have been."""
    client, peer = call
    other = Authority(tmp_path)
    other.issue("edge", ["edge.example.test", A.EDGE])
    before = served_certificate(lab)
    with lab.host("edge").socket() as taken:
        taken.bind((A.EDGE_ALTERNATE, 3478))
        changes = {
            "tcp": [f"{A.EDGE}:443"],
            "tls": [f"{A.EDGE}:3478"],
            "udp": [*edge.config["edge"]["udp"], f"{A.EDGE_ALTERNATE}:3478"],
            **{"certificate": tmp_path / "edge.pem", "private_key": tmp_path / "edge.key"},
            "relay": {"deny_peers": [f"{A.PEER}/32"]},
        }
        reload(edge, {"edge": changes}, accepted=False)
    assert (handshake(lab, (A.EDGE, 3478)), handshake(lab, (A.EDGE, 443))) == (None, "TLSv1.3")
    assert served_certificate(lab) == before
    assert relays(client, peer, b"as before") == (True, True)
    assert client.permit(A.PEER).kind == SUCCESS
