"""coturn's load client in all its forms. Its exit code is 0 even when everything was lost, so its counts are read."""

import os
import re
import subprocess
import time

import pytest

from edge_process import GENEROUS, REPOSITORY, SECRET, await_that, merged
from natlab import Addresses

A = Addresses
MESSAGES, CLIENTS = 20, 4
V4, V6 = "port-restricted", "ipv6-only"
TO_4, TO_6 = ["-e", A.PEER], ["-e", A.PEER_6]
TLS = ["-t", "-S", "-p", "443"]
DTLS = ["-S", "-p", "443"]

# name -> (kind of NAT in front, arguments, server)
FORMS = {
    "channels": (V4, TO_4, A.EDGE),
    "send_indications": (V4, [*TO_4, "-s"], A.EDGE),
    "without_rtcp": (V4, [*TO_4, "-c"], A.EDGE),
    "tcp": (V4, [*TO_4, "-t"], A.EDGE),
    "tcp_send_indications": (V4, [*TO_4, "-t", "-s"], A.EDGE),
    "tls": (V4, [*TO_4, *TLS], A.EDGE),
    "tls_where_udp_is_blocked": ("udp-blocked", [*TO_4, *TLS], A.EDGE),
    "dtls": (V4, [*TO_4, *DTLS], A.EDGE),
    "ipv6_client_ipv6_relay": (V6, [*TO_6, "-x", "-c"], A.EDGE_6),
    "ipv6_client_ipv4_relay": (V6, [*TO_4, "-X", "-c"], A.EDGE_6),
    "ipv6_client_no_family": (V6, TO_4, A.EDGE_6),
    "ipv4_client_ipv6_relay": (V4, [*TO_6, "-x", "-c"], A.EDGE),
    "ipv6_tcp_ipv6_relay": (V6, [*TO_6, "-x", "-c", "-t"], A.EDGE_6),
    "ipv6_tls_ipv6_relay": (V6, [*TO_6, "-x", "-c", *TLS], A.EDGE_6),
    "ipv6_dtls_ipv6_relay": (V6, [*TO_6, "-x", "-c", *DTLS], A.EDGE_6),
    "dont_fragment": (V4, [*TO_4, "-g", "-l", "1200"], A.EDGE),
    "mobility": (V4, [*TO_4, "-M"], A.EDGE),
    "channel_padding": (V4, [*TO_4, "-D"], A.EDGE),
    "client_to_client": (V4, ["-y"], A.EDGE),
    "client_to_client_send": (V4, ["-y", "-s"], A.EDGE),
    "client_to_client_tcp": (V4, ["-y", "-c", "-t"], A.EDGE),
    "client_to_client_ipv6": (V6, ["-y", "-x", "-c"], A.EDGE_6),
    "dual_allocation_ipv4_peer": (V4, [*TO_4, "-Z"], A.EDGE),
    "dual_allocation_ipv6_peer": (V4, [*TO_6, "-Z"], A.EDGE),
    "dual_allocation_send_indications": (V4, [*TO_6, "-Z", "-s"], A.EDGE),
    "dual_allocation_tcp": (V4, [*TO_6, "-Z", "-t"], A.EDGE),
    "dual_allocation_tls": (V4, [*TO_6, "-Z", *TLS], A.EDGE),
    "dual_allocation_dtls": (V4, [*TO_6, "-Z", *DTLS], A.EDGE),
    "ipv6_client_dual_allocation_ipv4_peer": (V6, [*TO_4, "-Z"], A.EDGE_6),
    "ipv6_client_dual_allocation_ipv6_peer": (V6, [*TO_6, "-Z"], A.EDGE_6),
    "client_to_client_dual_allocation": (V4, ["-y", "-Z"], A.EDGE),
    "tcp_relay": (V4, [*TO_4, "-T"], A.EDGE),
    "tcp_relay_over_tls": (V4, [*TO_4, "-T", "-S", "-p", "443"], A.EDGE),
    "tcp_relay_ipv6": (V6, [*TO_6, "-x", "-T"], A.EDGE_6),
    "abrupt_disconnect": (V4, [*TO_4, "-B"], A.EDGE),
    "extra_requests": (V4, [*TO_4, "-G"], A.EDGE),
}


@pytest.fixture(scope="module")
def edge_changes():
    return {
        "edge": GENEROUS
        | {
            "dtls": [f"{A.EDGE}:443", f"[{A.EDGE_6}]:443"],
            "mobility": True,
            "auth": {"allocations_per_identity": 0},
        }
    }


@pytest.fixture(scope="module")
def today(tool, tmp_path_factory):
    """The environment in which uclient keeps to what RFC 8656 and RFC 8996 left of its choices."""
    library = tmp_path_factory.mktemp("uclient") / "uclient_today.so"
    source = os.path.join(REPOSITORY, "tests", "clients", "uclient_today.c")
    subprocess.run([tool("cc"), "-shared", "-fPIC", "-o", library, source], check=True)
    return os.environ | {"LD_PRELOAD": str(library)}


@pytest.fixture(scope="module")
def outputs(lab, edge, echo_peer, tool, today):
    """What every form printed. They run eight at a time: each spends its seconds waiting."""
    client = tool("turnutils_uclient")
    waiting, running, printed = list(FORMS), {}, {}
    while waiting or running:
        while waiting and len(running) < 8:
            name = waiting.pop(0)
            kind, arguments, server = FORMS[name]
            command = [client, "-u", name, "-W", SECRET, "-n", MESSAGES, "-m", CLIENTS, *arguments, server]
            file = open(edge.directory / f"uclient-{name}.txt", "w+", errors="replace")
            process = lab.endpoint("a", kind).start_in_time(*command, stdout=file, stderr=subprocess.STDOUT, env=today)
            running[name] = process, file, time.monotonic() + 100
        for name, (process, file, deadline) in list(running.items()):
            if process.poll() is None and time.monotonic() > deadline:
                process.kill()
            if process.poll() is not None:
                file.seek(0)
                printed[name] = file.read()
                file.close()
                del running[name]
        time.sleep(0.05)
    return printed


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", FORMS)
def test_uclient_gets_every_message_back(outputs, edge, form):
    output = outputs[form]
    counts = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)$", output, re.MULTILINE)
    lost = re.findall(r"Total lost packets (\d+)", output)
    assert counts and lost, f"no result:\n{output[-2000:]}"
    sent, received = map(int, counts[-1])
    drops = {labels: value for (name, labels), value in edge.metrics().series.items() if "drops" in name and value}
    if form == "abrupt_disconnect" and sent < MESSAGES * CLIENTS:
        # It finds itself late, and leaves without a word: what was under way is its own loss.
        assert received + int(lost[-1]) == sent, output[-1500:]
        return
    assert (sent, received, int(lost[-1])) == (MESSAGES * CLIENTS, MESSAGES * CLIENTS, 0), f"{drops}\n{output[-1500:]}"


def test_negative_runs_end_at_the_400_that_they_provoke(lab, edge, echo_peer, tool, today):
    """What such a run sends is drawn at random; most wait forever for an answer that must not come."""
    client = ["timeout", 5, "stdbuf", "-oL", tool("turnutils_uclient"), "-u", "negative", "-W", SECRET]
    running = [
        lab.endpoint("a", V4).start(
            *(*client, "-n", 50, "-m", 4, *TO_4, "-N", "-R", A.EDGE),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=today,
        )
        for _ in range(12)
    ]
    outputs = [(process.communicate(timeout=30)[0], process.returncode) for process in running]
    ended = [output for output, code in outputs if code == 255]
    assert ended and all(re.findall(r"error (\d{3})", output)[-1:] == ["400"] for output in ended), outputs
    assert all(code in (255, 124) for _, code in outputs)


@pytest.mark.parametrize("kind, server", [(V4, A.EDGE), (V6, A.EDGE_6)])
def test_stunclient_learns_its_reflexive_address(lab, edge, tool, kind, server):
    done = lab.endpoint("a", kind).run("timeout", 5, tool("turnutils_stunclient"), server)
    expected = "203.0.113.102:2" if kind == V4 else "2001:db8:106::2"
    assert f"reflexive addr: {expected}" in done.stdout, done.stdout


def test_handshakes_are_timed_over_tls_and_dtls(edge, outputs):
    metrics = edge.metrics()
    for transport in ("tls", "dtls"):
        assert metrics.sum("postern_edge_handshake_seconds_count", transport=transport) >= CLIENTS


def test_an_address_that_a_reload_moves_from_udp_to_dtls_serves_new_clients_by_it(lab, start_edge, echo_peer, tool, today):
    edge = start_edge(
        {
            "edge": GENEROUS
            | {
                **{"udp": [f"{A.EDGE_ALTERNATE}:3478"], "tcp": [], "tls": []},
                "relay": {"addresses": [A.EDGE_ALTERNATE], "ports": "40000-40099"},
            },
            "telemetry": {"listen": "127.0.0.1:9651"},
        }
    )
    client = [tool("turnutils_uclient"), "-u", "moved", "-W", SECRET, "-n", 5, "-m", 2, "-p", 3478, *TO_4]

    def got_all(*arguments):
        done = lab.host("peer").run("timeout", 20, *client, *arguments, A.EDGE_ALTERNATE, env=today)
        return "tot_send_msgs=10, tot_recv_msgs=10" in done.stdout, done.stdout[-1500:]

    for kind, arguments in (("udp", []), ("dtls", ["-S"]), ("udp", [])):
        other = "dtls" if kind == "udp" else "udp"
        done = edge.metrics().sum("postern_edge_configuration_reloads_total")
        edge.reload(merged(edge.config, {"edge": {kind: [f"{A.EDGE_ALTERNATE}:3478"], other: []}}))
        await_that(lambda: edge.metrics().sum("postern_edge_configuration_reloads_total") > done, what="the reload")
        passed, output = got_all(*arguments)
        assert passed, f"{kind}: {output}"
    edge.stop()
