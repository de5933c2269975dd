"""`postern firewall`: its rules, loaded by the kernel, open exactly what the configuration opens."""

import contextlib
import errno
import socket
import subprocess

import pytest

from edge_process import default_config, merged, to_toml
from natlab import Addresses as A

RELAY_PORT, CLOSED_PORT = 50005, 49000


@pytest.fixture(scope="module")
def load_rules(lab, binary, authority, tmp_path_factory):
    """Loads the rules of the default configuration with changes on the edge's host; they go with the module."""
    edge = lab.host("edge")

    def load(changes=None):
        file = tmp_path_factory.mktemp("firewall") / "edge.toml"
        file.write_text(to_toml(merged(default_config(authority), changes or {})))
        done = subprocess.run([binary, "firewall", "--config", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        edge.nft(done.stdout)

    yield load
    edge.nft("table inet postern\ndelete table inet postern\n")


@contextlib.contextmanager
def udp(host, address, port=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.socket(family) as opened:
        opened.settimeout(0.5)
        opened.bind((address, port))
        yield opened


def arrives(sender, receiver):
    """Whether a datagram of one socket comes to the other."""
    sender.sendto(b"media", receiver.getsockname()[:2])
    try:
        return receiver.recvfrom(100)[0] == b"media"
    except TimeoutError:
        return False


def connects(lab, address, port):
    """Whether a TCP connection from the peer to a listener on the edge's host comes about."""
    with lab.host("edge").socket(kind=socket.SOCK_STREAM) as listener, \
            lab.host("peer").socket(kind=socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        client.settimeout(0.5)
        try:
            client.connect((address, port))
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize("edge_address, peer_address", [(A.EDGE, A.PEER), (A.EDGE_6, A.PEER_6)])
def test_peers_reach_the_relay_range_and_no_port_beside_it(lab, load_rules, edge_address, peer_address):
    load_rules()
    edge, peer = lab.host("edge"), lab.host("peer")
    with udp(peer, peer_address) as sender:
        for port, open_ in [(3478, True), (RELAY_PORT, True), (50000, True), (59999, True),
                            (49999, False), (60000, False), (CLOSED_PORT, False)]:
            with udp(edge, edge_address, port) as receiver:
                assert arrives(sender, receiver) == open_, port


def test_clients_reach_the_tcp_listeners_and_no_port_beside_them(lab, load_rules):
    load_rules()
    for port, open_ in [(3478, True), (443, True), (22, True), (RELAY_PORT, True), (8080, False)]:
        assert connects(lab, A.EDGE, port) == open_, port


def test_other_addresses_of_the_machine_are_left_alone(lab, load_rules):
    load_rules()
    with udp(lab.host("inside"), A.INSIDE) as sender, udp(lab.host("edge"), A.EDGE_ALTERNATE, CLOSED_PORT) as other:
        assert arrives(sender, other)


def test_the_relay_range_reaches_allowed_private_peers_alone(lab, load_rules):
    edge, inside, peer = lab.host("edge"), lab.host("inside"), lab.host("peer")
    with udp(edge, A.EDGE, RELAY_PORT) as relay, udp(inside, A.INSIDE) as worker, udp(peer, A.PEER) as public:
        load_rules()
        assert arrives(relay, worker) and arrives(relay, public)
        load_rules({"edge": {"relay": {"allow_peers": []}}})
        with pytest.raises(OSError) as refusal:
            relay.sendto(b"media", worker.getsockname())
        assert refusal.value.errno == errno.EPERM
        assert arrives(relay, public)
        load_rules({"edge": {"relay": {"deny_peers": [A.PEER]}}})
        with pytest.raises(OSError):
            relay.sendto(b"media", public.getsockname())
        assert arrives(relay, worker)


def test_media_is_not_tracked(lab, load_rules):
    load_rules()
    edge, peer = lab.host("edge"), lab.host("peer")

    def tracked():
        with edge.entered(), open("/proc/sys/net/netfilter/nf_conntrack_count") as file:
            return int(file.read())

    with udp(edge, A.EDGE, RELAY_PORT) as relay, udp(peer, A.PEER) as public, udp(edge, A.EDGE_ALTERNATE) as other:
        before = tracked()
        assert arrives(relay, public) and arrives(public, relay)
        assert tracked() == before
        # The counter does count: a flow that is no media.
        assert arrives(other, public)
        assert tracked() == before + 1


def test_rules_for_windows_are_one_line_per_port(binary, authority, tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text(to_toml(default_config(authority)))
    command = [binary, "firewall", "--config", file, "--format", "windows"]
    rules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sum("New-NetFirewallRule" in rule for rule in rules) == 3 + 2 + 2 + 4
    wanted = f"-Direction Inbound -Action Allow -Protocol UDP -LocalAddress {A.EDGE} -LocalPort 50000-59999 "
    assert sum(wanted in rule for rule in rules) == 1


def test_a_configuration_with_faults_makes_no_rules(binary, tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text("[edge]\n")
    done = subprocess.run([binary, "firewall", "--config", file], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert f"{file}:1: edge.realm: is missing" in done.stderr
