"""`postern doctor --local`: what the edge's machine gives to a configuration, before the first call."""

import json
import re

import pytest

from edge_process import Edge, default_config, merged
from natlab import Addresses

A = Addresses


@pytest.fixture
def examine(lab, binary, authority, tmp_path):
    """Runs it on the edge's host; answers its exit code and its findings by name."""

    def run(changes=None, prefix=()):
        edge = Edge(lab.host("edge"), tmp_path, merged(default_config(authority), changes or {}))
        edge.write()
        done = edge.host.run(*prefix, binary, "doctor", "--local", "--json", "--config", edge.file)
        return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}

    return run


def test_everything_that_a_machine_gives_is_examined_and_a_good_one_passes(examine):
    code, findings = examine()
    assert code == 0, findings
    assert findings["configuration"]["status"] == "ok" and findings["addresses"]["status"] == "ok"
    for check in ("kernel buffers rmem_max", "kernel buffers wmem_max", "descriptor limit", "port range", "connection tracking"):
        assert findings[check]["status"] in ("ok", "warn", "unknown"), findings[check]
    assert findings[f"route to 10.20.0.0/24 from {A.EDGE}"]["detail"] == "by in"
    back = findings[f"route from 10.20.0.0/24 to {A.EDGE}"]
    assert back["remedy"].endswith(f"ip route add {A.EDGE} via {A.EDGE_INSIDE}"), back


def test_every_warning_and_failure_says_what_to_do(examine):
    _, findings = examine({"edge": {"relay": {"ports": "30000-59999", "allow_peers": ["10.20.0.0/24", "10.99.0.0/16"]}}})
    for finding in findings.values():
        assert finding["status"] == "ok" or finding["remedy"], finding
    assert "ip_local_reserved_ports=30000-59999" in findings["port range"]["remedy"]


def test_an_address_of_another_machine_fails(examine):
    code, findings = examine({"edge": {"udp": [f"{A.PEER}:3478"]}})
    assert code != 0 and findings["addresses"]["status"] == "fail" and A.PEER in findings["addresses"]["detail"]


def test_a_file_that_cannot_be_used_fails_with_its_line(examine):
    code, findings = examine({"edge": {"realm": ""}})
    assert code != 0 and re.search(r"edge\.toml:\d+: edge\.realm", findings["configuration"]["detail"])


def test_the_descriptor_limit_that_it_asks_for_is_the_one_that_an_edge_needs(examine, start_edge):
    """The edge and its doctor count alike: with the limit named, an edge does not complain, with one less it does."""
    few_ports = {"edge": {"relay": {"addresses": [A.EDGE], "ports": "50000-51999"}}}

    def limited(limit):
        return ("prlimit", f"--nofile={limit}:{limit}", "--")

    _, findings = examine(few_ports, limited(1500))
    assert findings["descriptor limit"]["status"] == "warn"
    needed = int(re.search(r"LimitNOFILE=(\d+)", findings["descriptor limit"]["remedy"])[1])
    for limit, status in ((needed - 1, "warn"), (needed, "ok")):
        _, findings = examine(few_ports, limited(limit))
        assert findings["descriptor limit"]["status"] == status, limit
        edge = start_edge(few_ports, prefix=limited(limit))
        assert bool(edge.log_lines("raise LimitNOFILE")) == (status == "warn"), edge.log()
        edge.stop()
