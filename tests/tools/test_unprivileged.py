"""No root: an ordinary user with nothing but its files runs `up` and an edge on unprivileged ports."""

import os
import pwd
import re
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from certificates import Authority
from edge_process import SECRET, Edge, await_that, default_config, merged
from natlab import Addresses
from stun import SUCCESS, TurnClient, Wire, classic_token

A = Addresses
NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}"),
    *("--clear-groups", "--no-new-privs", "--bounding-set=-all"),
)


@pytest.fixture
def home(binary, tool):
    """A directory of nobody's with a copy of the program: what the tests work in belongs to root alone."""
    tool("setpriv")
    home = Path(tempfile.mkdtemp(prefix="postern-nobody-"))
    try:
        shutil.copy(binary, home / "postern")
        (home / "tmp").mkdir()
        for path in (home, home / "tmp"):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        yield home
    finally:
        shutil.rmtree(home)


def test_up_and_the_doctor_that_proves_it_run_as_nobody(lab, home):
    host = lab.host("laptop").create()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(home / "tmp")}
    try:
        with open(home / "out", "wb") as out:
            process = host.start(*AS_NOBODY, home / "postern", "up", stdout=out, stderr=out, env=environment, cwd=home)

        def printed():
            text = (home / "out").read_text()
            assert process.poll() is None, text
            return " doctor " in text and text.endswith("\n") and text

        text = await_that(printed, timeout=20, what="the doctor line")
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{NOBODY.pw_uid}\s", status, re.MULTILINE), "it is nobody's, or this proves nothing"
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        line = next(line.strip() for line in text.splitlines() if " doctor " in line)
        done = host.run(*AS_NOBODY, "sh", "-c", line + " --seconds 1", timeout=60, env=environment)
        assert done.returncode == 0, done.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0 and not list((home / "tmp").iterdir())
    finally:
        host.remove()


@pytest.fixture
def start(lab, home):
    """Starts an edge as nobody; its files are nobody's alone."""
    authority = Authority(home / "authority")
    base = default_config(authority)
    started = []

    def start(changes, wait=True):
        edge = Edge(lab.host("edge"), home / f"edge{len(started)}", merged(base, changes), binary=home / "postern")
        edge.write()
        for path in (edge.directory, edge.file, authority.directory, *authority.directory.iterdir()):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        started.append(edge)
        return edge.start(prefix=AS_NOBODY) if wait else edge.spawn(AS_NOBODY)

    yield start
    for edge in started:
        edge.stop()


def test_an_edge_on_unprivileged_ports_serves_and_reloads_as_nobody(lab, start):
    edge = start({"edge": {"tls": [f"{A.EDGE}:5349"]}})
    status = Path(f"/proc/{edge.process.pid}/status").read_text()
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    for transport, port in (("udp", 3478), ("tcp", 3478), ("tls", 5349)):
        with Wire(lab.host("crowd"), (A.EDGE, port), transport) as wire, lab.host("peer").socket() as peer:
            peer.bind((A.PEER, 0))
            peer.settimeout(2.0)
            client = TurnClient(wire, *classic_token(SECRET, f"user-{transport}"))
            assert client.allocate().kind == SUCCESS
            assert client.bind(0x4000, peer.getsockname()).kind == SUCCESS
            client.send_channel(0x4000, b"media")
            assert peer.recvfrom(100)[0] == b"media"
            client.refresh(0)
    edge.reload(merged(edge.config, {"edge": {"auth": {"allocations_per_identity": 7}}}))
    await_that(lambda: edge.metrics().sum("postern_edge_configuration_generation") == 2, what="the reload")


def test_a_port_that_nobody_may_have_is_named(lab, start):
    edge = start({"edge": {"tls": [f"{A.EDGE}:443"]}}, wait=False)
    assert edge.wait(10) != 0
    assert f"cannot bind {A.EDGE}:443: Permission denied" in edge.log()
