"""`postern call`: the story of a call that a real worker took, the list of calls, and what keeps it from telling."""

import contextlib
import json
import re
import socket
import subprocess

import pytest

from edge_process import await_that
from um_process import configuration, running

OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 30000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
""".replace("\n", "\r\n")


@pytest.fixture(scope="module")
def machine(lab):
    host = lab.host("office").create()
    yield host
    host.remove()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("um") / "postern.toml"
    path.write_text(configuration())
    return path


@pytest.fixture(scope="module")
def postern(machine, binary):
    """Runs a command of postern on the machine."""

    def run(*arguments, **options):
        return machine.run(binary, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    return run


@pytest.fixture(scope="module")
def service(machine, binary, postern, file):
    """A UM service with both workers at work and one mailbox, 1001."""
    done = postern("mailbox", "add", "1001", "--name", "Alice Ng", "--config", file)
    assert done.returncode == 0, done.stderr
    is_ready = lambda: exchange(machine, 5062, request("OPTIONS", "7000", "ready", 1))[0] == 200
    with running(machine, binary, file, is_ready) as process:
        yield process


def request(method, user, call_id, number, body="", to_tag=""):
    lines = [
        f"{method} sip:{user}@127.0.0.1;transport=tcp SIP/2.0",
        f"Via: SIP/2.0/TCP 127.0.0.1:39999;branch=z9hG4bK{call_id}{method}{number}",
        "Max-Forwards: 70",
        "From: <sip:2002@127.0.0.1>;tag=caller",
        f"To: <sip:{user}@127.0.0.1>{to_tag}",
        f"Call-ID: {call_id}",
        f"CSeq: {number} {method}",
        "Contact: <sip:2002@127.0.0.1:39999;transport=tcp>",
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def final(connection):
    """Status and text of the next final response."""
    held = b""
    while True:
        while b"\r\n\r\n" in held:
            head, _, rest = held.partition(b"\r\n\r\n")
            length = int(re.search(rb"(?im)^(?:content-length|l):\s*(\d+)", head)[1])
            if len(rest) < length:
                break
            held = rest[length:]
            status = re.match(rb"SIP/2.0 (\d+)", head)
            if status and int(status[1]) >= 200:
                return int(status[1]), head.decode()
        piece = connection.recv(65536)
        assert piece, "the connection was closed"
        held += piece


@contextlib.contextmanager
def connected(machine, port):
    connection = machine.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.closing(connection):
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        yield connection


def exchange(machine, port, message):
    try:
        with connected(machine, port) as connection:
            connection.sendall(message)
            return final(connection)
    except ConnectionError:
        return None, ""


@contextlib.contextmanager
def call(machine, call_id):
    """A call that is redirected and answered; hung up at the end of the block."""
    status, redirect = exchange(machine, 5062, request("INVITE", "1001", call_id, 1, OFFER))
    assert status == 302, redirect
    port = int(re.search(r"(?im)^contact:.*@?127\.0\.0\.1:(\d+)", redirect)[1])
    with connected(machine, port) as connection:
        connection.sendall(request("INVITE", "1001", call_id, 2, OFFER))
        status, answer = final(connection)
        assert status == 200, answer
        tag = re.search(r"(?im)^to:.*(;tag=[^;\s]+)", answer)[1]
        connection.sendall(request("ACK", "1001", call_id, 2, to_tag=tag))
        yield
        connection.sendall(request("BYE", "1001", call_id, 3, to_tag=tag))
        assert final(connection)[0] == 200


def test_a_call_is_told_from_its_invite_to_its_record(machine, service, postern, file):
    with call(machine, "story-1@test"):
        done = postern("call", "story-1@test", "--config", file)
        assert done.returncode == 0 and "under way" in done.stdout, done.stderr
        [known] = json.loads(postern("call", "--json", "--config", file).stdout)
        assert known["call_id"] == "story-1@test" and known["ended"] is None and known["slot"] in ("A", "B")

    def told():
        text = postern("call", "story-1@test", "--config", file).stdout
        return "\nended " in text and text

    text = await_that(told, what="the end of the story")
    for line in ("slot ", "call story-1@test, begun ", "--> INVITE", "<-- 200", "--> BYE"):
        assert line in text, f"no {line!r} in\n{text}"
    heading, line = postern("call", "--config", file).stdout.splitlines()
    assert heading.split() == ["BEGAN", "ENDED", "SLOT", "CALL-ID"]
    assert line.endswith("story-1@test") and "under way" not in line


def test_a_call_that_nobody_knows_is_told_so(service, postern, file):
    done = postern("call", "nobody@test", "--config", file)
    assert done.returncode == 1 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("postern: no worker knows the call nobody@test: `postern call` lists")


def test_workers_that_are_not_there_are_told_with_the_remedy(postern, tmp_path):
    file = tmp_path / "postern.toml"
    file.write_text(configuration())
    for arguments in (["call"], ["call", "some@call"]):
        done = postern(*arguments, "--config", file)
        assert done.returncode == 1 and done.stdout == ""
        [line] = done.stderr.splitlines()
        assert "no worker listens in slot A" in line and "no worker listens in slot B" in line
        assert "run this as the user of the UM service while it runs" in line and str(tmp_path / "run") in line


def test_a_configuration_without_a_um_service_is_told(postern, tmp_path):
    file = tmp_path / "postern.toml"
    file.write_text("[mailbox]\n")
    done = postern("call", "--config", file)
    assert done.returncode == 1 and "has no [um]" in done.stderr
    done = postern("call", "--config", tmp_path / "absent.toml")
    assert done.returncode == 1 and "absent.toml:1: does not exist" in done.stderr
