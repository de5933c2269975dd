"""`postern check`: every error at once with file and line, and the route that the workers need."""

import subprocess

from edge_process import default_config, merged, to_toml
from natlab import Addresses as A


def check(binary, file, prefix=()):
    return subprocess.run([*prefix, binary, "check", file], capture_output=True, text=True)


def test_every_error_is_printed_at_once_with_file_and_line(binary, tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text(
        '[edge]\nrealm = "example.test"\nudp = ["203.0.113.10:50001"]\n'
        '[edge.relay]\naddresses = ["203.0.113.10", "0.0.0.0"]\nports = "50000-50100"\nallow_peers = ["127.0.0.0/8"]\n'
        '[edge.auth]\nsecrets = [{ id = "2026a", value = "fifteen-bytes-!" }]\n'
    )
    done = check(binary, file)
    places = [line.split(": ")[:2] for line in done.stdout.splitlines()[:-1]]
    assert done.returncode == 1
    assert places == [
        [f"{file}:5", "edge.relay.addresses[1]"],
        [f"{file}:6", "edge.relay.ports"],
        [f"{file}:7", "edge.relay.allow_peers[0]"],
        [f"{file}:9", "edge.auth.secrets[0].value"],
    ]
    assert "fifteen-bytes" not in done.stdout


def test_the_route_that_the_workers_need_is_printed_and_right(lab, binary, authority, tmp_path):
    edge, inside = lab.host("edge"), lab.host("inside")
    file = tmp_path / "edge.toml"
    file.write_text(to_toml(merged(default_config(authority), {"edge": {"relay": {"allow_peers": ["10.20.0.0/24"]}}})))
    done = check(binary, file, prefix=edge.argv())
    assert done.returncode == 0, done.stdout
    commands = [line.split(":  ")[1] for line in done.stdout.splitlines() if ":  ip route" in line]
    assert commands == [f"ip route replace {A.EDGE}/32 via {A.EDGE_INSIDE}"]
    # The worker of the lab takes it: a route like it is what it has.
    assert inside.run(*commands[0].split()).returncode == 0
    assert f"via {A.EDGE_INSIDE}" in inside.run("ip", "route", "get", A.EDGE).stdout
