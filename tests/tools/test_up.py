"""`postern up` on a machine that has loopback and nothing else: every role of it runs, can be called, proves itself, ends
at once and leaves nothing."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from edge_process import await_that
from natlab import ahead


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


def test_it_prints_how_to_leave_a_message_and_how_to_hear_it(up):
    text = up[2]
    for number in ("1001", "1002", "7000"):
        assert f"sip:{number}@127.0.0.1:5060;transport=tcp" in text
    pins = re.findall(r"mailbox (100[12])  PIN (\d{6})$", text, re.MULTILINE)
    assert [number for number, _ in pins] == ["1001", "1002"]
    assert pins[0][1] != pins[1][1]


SIGN_IN = r"""
import http.client, json, ssl, sys
port, token, ca = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)

def post(path, body):
    web = http.client.HTTPSConnection("localhost", int(port), context=tls, timeout=20)
    web.request("POST", "/api/v1" + path, json.dumps(body), {"Content-Type": "application/json"})
    answer = web.getresponse()
    return answer.status, answer.read().decode()

print(post(f"/links/{token}/password", {"password": "plenty of words 1"})[0])
print(*post("/session", {"mailbox": "1001", "password": "plenty of words 1"}))
"""


def test_the_link_that_it_prints_opens_the_page_of_a_mailbox(laptop, up):
    _, _, text = up
    port, token = re.search(r"Alice Ng +https://localhost:(\d+)/#/link/(\S+)$", text, re.MULTILINE).groups()
    assert f"at https://localhost:{port}/\n" in text
    [ca] = re.search(r"the authority (\S+):", text).groups()
    done = laptop.run(sys.executable, "-c", SIGN_IN, port, token, ca)
    first, second = done.stdout.splitlines()
    assert first == "204" and second.startswith("200 ") and '"Alice Ng"' in second, done


SEND_TO_ROUTER = r"""
import socket, sys, uuid
method, uri, family = sys.argv[1:]
host = {"4": "127.0.0.1", "6": "::1"}[family]
with socket.create_connection((host, 5060), timeout=5) as router:
    router.sendall((
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP caller.invalid;branch=z9hG4bK{uuid.uuid4().hex}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:2002@caller.invalid>;tag=a\r\nTo: <{uri}>\r\nCall-ID: {uuid.uuid4().hex}\r\nCSeq: 1 {method}\r\n"
        f"Contact: <sip:2002@caller.invalid;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
    ).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = router.recv(4096)
        if not piece:
            break
        answer += piece
print(answer.decode())
"""


def send_to_router(laptop, method, uri, family="4"):
    done = laptop.run(sys.executable, "-c", SEND_TO_ROUTER, method, uri, family, timeout=20)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_router_takes_calls_once_it_is_printed(laptop, up):
    assert send_to_router(laptop, "OPTIONS", "sip:127.0.0.1:5060").startswith("SIP/2.0 200 ")
    for family in ("4", "6"):
        answer = send_to_router(laptop, "INVITE", "sip:1001@127.0.0.1:5060;transport=tcp", family)
        assert answer.startswith("SIP/2.0 302 "), answer
        assert re.search(r"^Contact:.*<sip:1001@127\.0\.0\.1:5062;", answer, re.MULTILINE | re.IGNORECASE), answer
    assert send_to_router(laptop, "INVITE", "sip:19@127.0.0.1:5060;transport=tcp").startswith("SIP/2.0 404 ")


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


STEPS = [
    "every role is up, and a worker is ready",
    "a token service for the phone",
    "the edge counts what it relays",
    "the first call: a relay under a token",
    "the first call: redirected twice, then answered",
    "the first call: media goes by the relay",
    "a message is spoken after the tone",
    "the message is kept before the call is over",
    "the edge has counted the media",
    "the second call: a relay under a token",
    "the second call: redirected twice, then answered",
    "the second call: media goes by the relay",
    "the owner is let in by mailbox number and PIN",
    "the message is played",
    "the second call is over",
    "what was heard is what was spoken",
    "a wrong recording is refused",
]


@pytest.fixture
def scratch(tmp_path):
    directory = tmp_path / "scratch"
    directory.mkdir()
    return directory


def test_try_leaves_a_message_and_hears_it_again(laptop, binary, tmp_path, scratch):
    environment = os.environ | {"TMPDIR": str(scratch)}
    # A phone plays what comes at the time at which it comes: what other tests take from the machine would be heard.
    done = laptop.run(*ahead(), binary, "up", "--try", env=environment, cwd=tmp_path, timeout=100)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    passed = [re.match(r" *(\d+\.\d\d) s  passed  (.*)$", line) for line in lines]
    passed = [match for match in passed if match]
    assert [next((step for step in STEPS if match[2].startswith(step + ":")), match[2]) for match in passed] == STEPS
    times = [float(match[1]) for match in passed]
    assert times == sorted(times) and times[-1] < 60
    assert len(re.findall(r" s +302 sip:\d+@127\.0\.0\.1:5060;transport=tcp -> sip:\d+@127\.0\.0\.1:5062;", done.stdout)) == 2
    assert len(re.findall(r" s +302 sip:\d+@127\.0\.0\.1:5062;transport=tcp -> sip:\d+@127\.0\.0\.1:506[57];", done.stdout)) == 2
    correlation = re.search(r"what was spoken: correlation (\d\.\d+), length ([+-]\d+) ms, longest gap (\d+) ms", done.stdout)
    assert float(correlation[1]) >= 0.9 and abs(int(correlation[2])) <= 100 and int(correlation[3]) <= 60
    assert lines[-1].endswith("All steps passed.")
    assert not list(scratch.iterdir()) and laptop.pids() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_trial_that_is_broken_off_fails_and_leaves_nothing(laptop, binary, tmp_path, scratch, number):
    with open(tmp_path / "out", "wb") as out:
        environment = os.environ | {"TMPDIR": str(scratch)}
        process = laptop.start(binary, "up", "--try", stdout=out, stderr=out, env=environment, cwd=tmp_path)
    try:
        answered = "the first call: media goes by the relay"
        await_that(lambda: answered in (tmp_path / "out").read_text(), timeout=30, what="the call")
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(5) == 1
        assert time.monotonic() - started < 3.0
        assert not list(scratch.iterdir()) and laptop.pids() == []
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
