"""`postern up` on a machine that has loopback and nothing else: proves itself, ends at once, leaves nothing."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from edge_process import await_that


@pytest.fixture
def laptop(lab):
    host = lab.host("laptop").create()
    yield host
    host.remove()


@pytest.fixture
def up(laptop, binary, tmp_path):
    """The process, its directory for temporary files and what it printed."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG", "RUNTIME"))}
    environment |= {"TMPDIR": str(scratch), "HOME": str(tmp_path / "home")}
    with open(tmp_path / "out", "wb") as out:
        process = laptop.start(binary, "up", stdout=out, stderr=out, env=environment, cwd=tmp_path)

    def printed():
        assert process.poll() is None, (tmp_path / "out").read_text()
        text = (tmp_path / "out").read_text()
        return " doctor " in text and text.endswith("\n") and text

    yield process, scratch, await_that(printed, timeout=20, what="the doctor line")
    if process.poll() is None:
        process.kill()
        process.wait()


def doctor_line(text):
    return next(line.strip() for line in text.splitlines() if " doctor " in line)


def test_it_prints_where_it_listens_and_a_token(up):
    text = up[2]
    for expected in ("127.0.0.1:3478", "[::1]:3478", "127.0.0.1:5349", "/metrics", "/v1/tokens"):
        assert expected in text
    assert re.search(r"username \d+:alice +password \S+", text)


def test_the_doctor_line_that_it_prints_passes_as_it_stands(laptop, up):
    done = laptop.run("sh", "-c", doctor_line(up[2]) + " --seconds 2", timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_token_service_answers_the_line_that_it_prints(laptop, up):
    line = next(line.strip() for line in up[2].splitlines() if line.strip().startswith("curl "))
    words = shlex.split(line)
    options = dict(zip(words[1:-1:2], words[2:-1:2]))
    script = (
        "import json, ssl, sys, urllib.request as u\n"
        "ca, cert, key, body, url = sys.argv[1:]\n"
        "tls = ssl.create_default_context(cafile=ca)\n"
        "tls.load_cert_chain(cert, key)\n"
        "request = u.Request(url, body.encode(), {'content-type': 'application/json'})\n"
        "print(json.load(u.urlopen(request, context=tls))['username'])\n"
    )
    arguments = [options["--cacert"], options["--cert"], options["--key"], options["-d"], words[-1]]
    done = laptop.run(sys.executable, "-c", script, *arguments)
    assert done.returncode == 0 and "bob" in done.stdout, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_at_once_and_leaves_nothing(laptop, up, tmp_path, number):
    process, scratch, text = up
    assert list(scratch.iterdir()), "its temporary files are here, or this test proves nothing"
    started = time.monotonic()
    process.send_signal(number)
    assert process.wait(5) == 0
    assert time.monotonic() - started < 2.0
    assert not list(scratch.iterdir())
    assert not (tmp_path / "home").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scratch"]
    assert laptop.pids() == []


def test_ctrl_c_during_a_call_ends_it_at_once(laptop, up):
    process, scratch, text = up
    calling = laptop.start("sh", "-c", doctor_line(text) + " --seconds 20", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def media_flows():
        metrics = laptop.run(
            sys.executable, "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9641/metrics').read().decode())"
        ).stdout
        packets = re.findall(r"^postern_edge_relayed_packets_total\{.*\} (\d+)$", metrics, re.MULTILINE)
        return sum(map(int, packets)) > 10

    await_that(media_flows, timeout=20, what="media")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(5)
    assert time.monotonic() - started < 2.0
    calling.kill()
    calling.wait()


def test_two_at_once_find_ports_of_their_own(laptop, up, binary, tmp_path):
    second = tmp_path / "second"
    with open(second, "wb") as out:
        process = laptop.start(binary, "up", stdout=out, stderr=out)
    try:
        text = await_that(lambda: " doctor " in second.read_text() and second.read_text(), timeout=20, what="the second one")
        assert "127.0.0.1:3478" not in text
        done = laptop.run("sh", "-c", doctor_line(text) + " --seconds 1", timeout=60)
        assert done.returncode == 0, done.stdout
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(5)
