"""The systemd units: no root, one capability, closed as far as their roles can be."""

import configparser
import os
import re
import subprocess

import pytest

from edge_process import REPOSITORY

ROLES = ["edge", "router", "um"]
EXPOSURE_MAX = 2.0


class Directives(dict):
    """Values of a key that may be written several times, in order."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit_of(role):
    return os.path.join(REPOSITORY, "config", f"postern-{role}.service")


def directives(role):
    parser = configparser.RawConfigParser(dict_type=Directives, strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(unit_of(role))
    return {key: value.split("\n") for key, value in parser["Service"].items()}


@pytest.fixture(params=ROLES)
def role(request):
    return request.param


@pytest.fixture
def service(role):
    return directives(role)


def test_the_unit_scores_at_most_two(tool, role):
    threshold = str(round(EXPOSURE_MAX * 10))
    command = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={threshold}", unit_of(role)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    exposure = re.search(rf"Overall exposure level for postern-{role}.service: ([0-9.]+)", done.stdout)
    assert float(exposure.group(1)) <= EXPOSURE_MAX


def test_systemd_understands_every_line_of_the_unit(tool, role, tmp_path):
    """Unknown keys and values are warned of, which does not fail by itself."""
    unit = tmp_path / f"postern-{role}.service"
    with open(unit_of(role)) as file:
        # The binary is not installed where tests run.
        unit.write_text(re.sub(r"^(ExecStart=)\S+", r"\1/bin/true", file.read(), flags=re.MULTILINE))
    done = subprocess.run([tool("systemd-analyze"), "verify", unit], capture_output=True, text=True)
    about_it = [line for line in done.stderr.splitlines() if f"postern-{role}" in line]
    assert (done.returncode, about_it) == (0, [])


def test_the_service_is_not_root_and_holds_one_capability(service):
    assert service["User"] == ["postern"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    assert service["NoNewPrivileges"] == ["yes"]


def test_the_service_tells_when_it_is_ready_and_takes_a_reload(service):
    assert service["Type"] == ["notify"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["KillSignal"] == ["SIGTERM"]


@pytest.mark.parametrize("role, key", [("edge", "deadline_secs"), ("um", "call_secs_max")])
def test_systemd_waits_longer_than_a_drain_may_take(role, key):
    with open(os.path.join(REPOSITORY, "config", "postern.toml")) as file:
        longest = re.search(rf"^#?{key} = (\d+)$", file.read(), flags=re.MULTILINE)
    assert int(directives(role)["TimeoutStopSec"][0]) > int(longest.group(1))


def test_the_families_that_a_role_needs_are_allowed(service):
    families = set(service["RestrictAddressFamilies"][0].split())
    assert families == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}


def test_systemd_leaves_the_workers_alone_and_their_sockets_where_they_are():
    um = directives("um")
    assert um["KillMode"] == ["process"]
    assert um["RuntimeDirectoryPreserve"] == ["yes"]
    assert um["Restart"] == ["always"], "one that left its workers is followed by another"
