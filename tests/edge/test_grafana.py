"""Dashboards and alert rules, judged by Prometheus itself.

That they name only metrics, labels and values that exist is a unit test of the telemetry room.
"""

import glob
import json
import os
import subprocess

from edge_process import REPOSITORY

GRAFANA = os.path.join(REPOSITORY, "grafana")
RULES = sorted(glob.glob(os.path.join(GRAFANA, "alerts", "*.yml")))
RULE_TESTS = sorted(glob.glob(os.path.join(GRAFANA, "alerts", "tests", "*.yml")))
DASHBOARDS = sorted(glob.glob(os.path.join(GRAFANA, "dashboards", "*.json")))
# What Grafana fills in before it asks Prometheus.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def dashboard(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def panels(path):
    for panel in dashboard(path)["panels"]:
        yield panel
        yield from panel.get("panels", [])


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_prometheus_accepts_the_alert_rules(tool):
    assert RULES
    assert "SUCCESS" in run(tool("promtool"), "check", "rules", *RULES)


def test_alerts_fire_when_they_should_and_only_then(tool):
    assert RULE_TESTS
    assert "SUCCESS" in run(tool("promtool"), "test", "rules", *RULE_TESTS)


def test_prometheus_accepts_the_scrape_example_and_finds_the_rules(tool):
    assert "rules found" in run(tool("promtool"), "check", "config", os.path.join(GRAFANA, "prometheus.yml"))


def test_prometheus_can_read_every_query_of_the_dashboards(tool, tmp_path):
    rules = []
    for path in DASHBOARDS:
        for panel in panels(path):
            for number, target in enumerate(panel.get("targets", [])):
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                assert "$" not in query, f"{panel['title']}: {target['expr']}"
                labels = {"panel": f"{os.path.basename(path)} {panel['id']}-{number}"}
                rules.append({"record": "dashboard:query", "expr": query, "labels": labels})
    assert len(rules) > 120
    # JSON is YAML.
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run(tool("promtool"), "check", "rules", str(file))


def test_dashboards_can_be_provisioned():
    assert DASHBOARDS
    seen = set()
    for path in DASHBOARDS:
        board = dashboard(path)
        assert board["uid"] == os.path.splitext(os.path.basename(path))[0]
        assert board["uid"] not in seen
        seen.add(board["uid"])
        assert "id" not in board, "an id belongs to one Grafana"
        identities = [panel["id"] for panel in panels(path)]
        assert len(identities) == len(set(identities))


def test_panels_take_their_data_from_the_chosen_source_and_overlap_nowhere():
    for path in DASHBOARDS:
        taken = {}
        for panel in panels(path):
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                    taken[x, y] = panel["title"]
            if panel["type"] == "row":
                continue
            assert panel["title"] and panel["targets"], panel
            for target in panel["targets"]:
                assert target["datasource"]["uid"] == "${datasource}", panel["title"]
