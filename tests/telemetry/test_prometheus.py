"""A real Prometheus, a real edge, and what it makes of the numbers."""

import http.client
import json
import pathlib
import subprocess
import urllib.parse

import pytest

from edge_process import GENEROUS, REPOSITORY, await_that
from natlab import Addresses
from stun import SUCCESS

A = Addresses
GRAFANA = pathlib.Path(REPOSITORY, "grafana")
PORT = 9090


@pytest.fixture(scope="module")
def edge_changes():
    return {"edge": GENEROUS}


@pytest.fixture(scope="module")
def prometheus(lab, edge, tool, tmp_path_factory):
    """The Debian package's server, scraping every second on the edge's own host."""
    directory = tmp_path_factory.mktemp("prometheus")
    rules = [str(path) for path in rule_files()]
    (directory / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": rules,
                "scrape_configs": [{"job_name": "postern", "static_configs": [{"targets": ["127.0.0.1:9641"]}]}],
            }
        )
    )
    with open(directory / "log", "wb") as log:
        process = lab.host("edge").start(
            tool("prometheus"),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{PORT}",
            stdout=log,
            stderr=log,
            cwd=directory,
        )

    def query(expression):
        with lab.host("edge").entered():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            try:
                connection.connect()
            except OSError:
                assert process.poll() is None, (directory / "log").read_text()[-2000:]
                return []
        connection.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return json.loads(body)["data"]["result"] if response.status == 200 else []  # 503 until its store is open

    yield query
    process.kill()
    process.wait()


def rule_files():
    return sorted(
        path for path in GRAFANA.rglob("*.y*ml") if "groups:" in path.read_text() and "rule_files:" not in path.read_text()
    )


def test_prometheus_scrapes_the_edge_and_sees_a_call(lab, edge, prometheus):
    await_that(lambda: prometheus('up{job="postern"} == 1'), timeout=30, what="a scrape")
    client = edge.client(lab.host("peer"))
    with client.wire, lab.host("peer").socket() as peer:
        peer.bind((A.PEER, 0))
        assert client.allocate().kind == SUCCESS
        assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
        for _ in range(50):
            client.send_channel(0x4000, bytes(172))
        await_that(lambda: prometheus("sum(postern_edge_allocations) == 1"), what="one allocation")
        await_that(
            lambda: prometheus('sum(postern_edge_relayed_packets_total{direction="to_peer"}) >= 50'), what="its packets"
        )
        client.refresh(0)
    await_that(lambda: prometheus("sum(postern_edge_allocations) == 0"), what="its end")


def test_every_metric_of_the_edge_is_known_to_prometheus(edge, prometheus):
    await_that(lambda: prometheus('up{job="postern"} == 1'), timeout=30, what="a scrape")
    seen = {series["metric"]["__name__"] for series in prometheus('{job="postern"}')}
    assert edge.metrics().names() <= seen


def test_promtool_is_content_with_the_metrics(edge, tool):
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=edge.metrics().text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_promtool_is_content_with_the_rules(tool):
    files = rule_files()
    assert files, "no rules in grafana/"
    done = subprocess.run([tool("promtool"), "check", "rules", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_pass_their_own_unit_tests(tool):
    tests = [path for path in GRAFANA.rglob("*.y*ml") if "rule_files:" in path.read_text() and "tests:" in path.read_text()]
    assert tests, "no unit tests of rules in grafana/"
    for path in tests:
        done = subprocess.run([tool("promtool"), "test", "rules", path.name], cwd=path.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_metric_has_a_label_from_the_network(lab, edge):
    """A hundred identities, addresses and ports later the same series stand."""
    clients = [edge.client(lab.host("peer"), f"person{number}") for number in range(100)]
    assert clients[0].allocate().kind == SUCCESS
    before = set(edge.metrics().series)
    for client in clients[1:]:
        assert client.allocate().kind == SUCCESS
    assert set(edge.metrics().series) == before
    for client in clients:
        client.refresh(0)
        client.wire.close()
    assert set(edge.metrics().series) == before
