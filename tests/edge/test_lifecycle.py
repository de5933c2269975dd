"""Start, sudden death, and running short of ports and descriptors."""

import contextlib
import signal
import time

import pytest

from edge_process import GENEROUS, Edge, await_that, merged
from natlab import Addresses
from stun import ALLOCATE, REQUESTED_TRANSPORT, SUCCESS, UDP_TRANSPORT, Closed, Wire, binding

A = Addresses


def test_after_kill_9_a_restart_serves_at_once_and_knows_its_nonces(lab, start_edge):
    edge = start_edge()
    client = edge.client(lab.host("peer"))
    stream = edge.client(lab.host("peer"), "stream", "tls")
    with client.wire, stream.wire:
        assert client.allocate().kind == SUCCESS and stream.allocate().kind == SUCCESS
        edge.signal(signal.SIGKILL)
        edge.wait()
        with pytest.raises(Closed):
            while stream.wire.receive(3.0):
                pass
            raise AssertionError("the connection outlives the process")
        started = time.monotonic()
        edge.start()
        assert time.monotonic() - started < 5.0
        assert client.refresh(600).error == 437
        data, transaction = client.signed(ALLOCATE, [(REQUESTED_TRANSPORT, UDP_TRANSPORT)])
        assert client.wire.ask(data, transaction).kind == SUCCESS, "the nonce of before the crash"
        client.refresh(0)
    edge.stop()


def test_a_second_instance_is_refused_by_name_and_the_first_loses_nothing(lab, start_edge, authority):
    first = start_edge()
    client = first.client(lab.host("peer"))
    with client.wire:
        assert client.allocate().kind == SUCCESS
        config = merged(first.config, {"telemetry": {"listen": "127.0.0.1:9651"}})
        second = Edge(lab.host("edge"), first.directory / "second", config).spawn()
        assert second.wait(10.0) != 0
        assert f"{A.EDGE}:3478" in second.log() and str(first.process.pid) in second.log(), second.log()
        assert client.refresh(600).kind == SUCCESS
        # Every shard still answers: the group of sockets was not joined by the other process.
        for _ in range(12):
            with first.wire(lab.host("peer")) as wire:
                assert binding(wire, timeout=1.0).kind == SUCCESS
        client.refresh(0)
    first.stop()


def test_a_port_taken_by_another_program_costs_another_draw(lab, start_edge):
    edge = start_edge({"edge": {"relay": {"ports": "50000-50019", "addresses": [A.EDGE]}, "udp": [f"{A.EDGE}:3478"]}})
    with contextlib.ExitStack() as stack:
        for port in range(50000, 50015):
            taken = stack.enter_context(lab.host("edge").socket())
            taken.bind((A.EDGE, port))
        clients = [edge.client(lab.host("peer")) for _ in range(6)]
        answers = [client.allocate() for client in clients]
        assert [answer.error for answer in answers] == [None] * 5 + [508]
        assert {client.relay[1] for client in clients[:5]} == set(range(50015, 50020))
        for client in clients:
            client.wire.close()
    edge.stop()


def test_without_descriptors_new_allocations_get_508_and_old_ones_lose_nothing(lab, start_edge):
    edge = start_edge({"edge": GENEROUS}, prefix=("prlimit", "--nofile=450:450", "--"))
    first = edge.client(lab.host("crowd"), "first")
    with contextlib.ExitStack() as stack:
        stack.enter_context(first.wire)
        peer = stack.enter_context(lab.host("peer").socket())
        peer.bind((A.PEER, 0))
        peer.settimeout(2.0)
        assert first.allocate().kind == SUCCESS
        assert first.bind(0x4000, peer.getsockname()).kind == SUCCESS
        clients, refused = [], 0
        while refused < 5:
            client = edge.client(lab.host("peer"), f"user{len(clients)}")
            stack.enter_context(client.wire)
            answer = client.allocate()
            if answer.kind == SUCCESS:
                clients.append(client)
            else:
                assert answer.error == 508
                refused += 1
            assert len(clients) < 450
        assert len(clients) >= 100, "450 less the reserve of 256 and what is open already"
        # What the reserve is for: telemetry, new connections, and whoever is in a call already.
        assert edge.status("/metrics") == 200
        with edge.wire(lab.host("peer"), "tls") as wire:
            assert binding(wire).kind == SUCCESS
        first.send_channel(0x4000, b"media")
        assert peer.recvfrom(100)[0] == b"media"
        generation = edge.metrics().sum("postern_edge_configuration_generation")
        edge.signal(signal.SIGHUP)
        await_that(
            lambda: edge.metrics().sum("postern_edge_configuration_generation") > generation, what="a reload in need"
        )
        clients[0].refresh(0)
        late = edge.client(lab.host("peer"), "late")
        stack.enter_context(late.wire)
        await_that(lambda: late.allocate().kind == SUCCESS, what="a place that became free")
    edge.stop()


def test_it_raises_the_descriptor_limit_to_the_hard_one_and_says_what_that_allows(start_edge):
    edge = start_edge(prefix=("prlimit", "--nofile=128:4096", "--"))
    with open(f"/proc/{edge.process.pid}/limits") as file:
        soft = next(line.split()[3] for line in file if line.startswith("Max open files"))
    assert soft == "4096"
    lines = edge.log_lines("allocations")
    assert lines, edge.log()
    edge.stop()


def test_it_says_when_the_relay_range_lies_in_the_kernel_s_own_ports(lab, start_edge):
    """The lab's namespaces have the kernel's default, 32768 to 60999, and nothing reserved."""
    edge = start_edge()
    assert edge.log_lines("ip_local_reserved_ports"), edge.log()
    edge.stop()
    lab.host("edge").sysctl("ipv4.ip_local_reserved_ports", "50000-59999")
    try:
        edge = start_edge()
        assert not edge.log_lines("ip_local_reserved_ports"), edge.log()
        edge.stop()
    finally:
        lab.host("edge").sysctl("ipv4.ip_local_reserved_ports", "\n")


def test_a_faulty_configuration_ends_the_start_with_file_and_line(lab, binary, tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text('[edge]\nrealm = "example.test"\nudp = ["203.0.113.10:3478"]\nunknown = 1\n')
    done = lab.host("edge").run(binary, "edge", "--config", file)
    assert done.returncode != 0 and f"{file}:4" in done.stdout


def test_every_listener_answers_on_every_family(lab, start_edge):
    edge = start_edge()
    for transport in ("udp", "tcp", "tls"):
        for family in (4, 6):
            with edge.wire(lab.host("peer"), transport, family) as wire:
                assert binding(wire).kind == SUCCESS, (transport, family)
    # Plain STUN on the TLS port is told apart by its first byte.
    with Wire(lab.host("peer"), (A.EDGE, 443), "tcp") as wire:
        assert binding(wire).kind == SUCCESS
    edge.stop()
