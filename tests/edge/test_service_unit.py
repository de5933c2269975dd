"""The systemd unit: no root, one capability, closed as far as a relay can be."""

import configparser
import os
import re
import subprocess

import pytest

from edge_process import REPOSITORY

UNIT = os.path.join(REPOSITORY, "config", "postern-edge.service")
EXPOSURE_MAX = 2.0


class Directives(dict):
    """Values of a key that may be written several times, in order."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


@pytest.fixture(scope="module")
def service():
    parser = configparser.RawConfigParser(dict_type=Directives, strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(UNIT)
    return {key: value.split("\n") for key, value in parser["Service"].items()}


def test_the_unit_scores_at_most_two(tool):
    threshold = str(round(EXPOSURE_MAX * 10))
    command = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={threshold}", UNIT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    exposure = re.search(r"Overall exposure level for postern-edge.service: ([0-9.]+)", done.stdout)
    assert float(exposure.group(1)) <= EXPOSURE_MAX


def test_systemd_understands_every_line_of_the_unit(tool, tmp_path):
    """Unknown keys and values are warned of, which does not fail by itself."""
    unit = tmp_path / "postern-edge.service"
    with open(UNIT) as file:
        # The binary is not installed where tests run.
        unit.write_text(re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", file.read(), flags=re.MULTILINE))
    done = subprocess.run([tool("systemd-analyze"), "verify", unit], capture_output=True, text=True)
    about_it = [line for line in done.stderr.splitlines() if "postern-edge" in line]
    assert (done.returncode, about_it) == (0, [])


def test_the_service_is_not_root_and_holds_one_capability(service):
    assert service["User"] == ["postern"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    assert service["NoNewPrivileges"] == ["yes"]


def test_the_service_tells_when_it_is_ready_and_takes_a_reload(service):
    assert service["Type"] == ["notify"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["KillSignal"] == ["SIGTERM"]


def test_systemd_waits_longer_than_a_drain_may_take(service):
    with open(os.path.join(REPOSITORY, "config", "postern.toml")) as file:
        deadline = re.search(r"^#?deadline_secs = (\d+)$", file.read(), flags=re.MULTILINE)
    assert int(service["TimeoutStopSec"][0]) > int(deadline.group(1))


def test_the_families_that_an_edge_needs_are_allowed(service):
    families = set(service["RestrictAddressFamilies"][0].split())
    assert families == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
