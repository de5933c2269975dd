"""The web services of the real UM service: the link that `postern mailbox add` prints, signing in over HTTPS, the
lock-out over a restart, and Schemathesis against the OpenAPI document."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys

import pytest

from certificates import Authority
from edge_process import await_that

TOKEN = "a token of tests that is long enough"
PASSWORD = "correct horse battery"
CONFIGURATION = """
[um]
startup_mode = "tcp"
tcp = ["127.0.0.1:{ports[0]}"]
metrics = "127.0.0.1:{ports[1]}"
runtime_directory = "run"
[worker]
startup_mode = "tcp"
addresses = ["127.0.0.1"]
slots = [{ports[2]}, {ports[3]}]
metrics = ["127.0.0.1:{ports[4]}", "127.0.0.1:{ports[5]}"]
rtp_ports = "20000-20019"
[mailbox]
[web]
listen = "127.0.0.1:{ports[6]}"
certificate = "web.pem"
private_key = "web.key"
url = "https://localhost:{ports[6]}"
admin_token_file = "admin.token"
[[gateway]]
address = "127.0.0.1"
dial_plan = "office"
[[dial_plan]]
name = "office"
pilots = ["7000"]
"""


def free_ports(count):
    """Ports of the loopback that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class Services:
    """A UM service with web services, its files and its process."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        authority = Authority(directory)
        authority.issue("web", ["localhost", "127.0.0.1"])
        self.ca = authority.certificate
        self.tls = ssl.create_default_context(cafile=self.ca)
        ports = free_ports(7)
        self.port = ports[6]
        self.file = directory / "postern.toml"
        self.file.write_text(CONFIGURATION.format(ports=ports))
        token = directory / "admin.token"
        token.write_text(TOKEN + "\n")
        token.chmod(0o600)
        self.process = None

    def mailbox(self, *arguments):
        command = [self.binary, "mailbox", *arguments, "--config", self.file]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def start(self):
        with open(self.directory / "um.log", "ab") as log:
            self.process = subprocess.Popen([self.binary, "um", "--config", self.file], stdout=log, stderr=log)

        def serves():
            assert self.process.poll() is None, (self.directory / "um.log").read_text()
            with contextlib.suppress(OSError):
                return self.ask("GET", "/api/v1/openapi.json")[0] == 200

        await_that(serves, 60, "the web services")

    def stop(self):
        # Twice: workers end at once.
        for _ in range(2):
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def ask(self, method, path, body=None, headers=None, source="127.0.0.1"):
        """Status, headers and JSON of an answer to a request from this address."""
        address = {"timeout": 30, "source_address": (source, 0)}
        connection = http.client.HTTPSConnection("localhost", self.port, context=self.tls, **address)
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers.get("Content-Type") == "application/json"
        return answer.status, answer.headers, json.loads(content) if is_json and content else content

    def set_password(self, link):
        token = link.removeprefix(f"https://localhost:{self.port}/#/link/")
        status, _, _ = self.ask("POST", f"/api/v1/links/{token}/password", {"password": PASSWORD})
        return status

    def sign_in(self, mailbox="1001", password=PASSWORD, source="127.0.0.1"):
        return self.ask("POST", "/api/v1/session", {"mailbox": mailbox, "password": password}, source=source)


@pytest.fixture(scope="module")
def services(binary, tmp_path_factory):
    services = Services(binary, tmp_path_factory.mktemp("web"))
    said = services.mailbox("add", "1001", "--name", "Alice Ng")
    services.link = re.search(r"^Link (\S+):", said, re.MULTILINE).group(1)
    services.start()
    yield services
    services.stop()
    assert "panicked" not in (services.directory / "um.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def signed_in(services):
    """The headers of somebody who is signed in."""
    assert services.set_password(services.link) == 204
    status, headers, session = services.sign_in()
    assert status == 200
    return {"Cookie": headers["Set-Cookie"].split(";")[0], "X-CSRF-Token": session["csrf"]}


def test_the_link_of_mailbox_add_serves_once_and_another_is_made(services, signed_in):
    assert services.set_password(services.link) == 410
    assert services.mailbox("link", "1001").startswith("Link https://localhost:")
    assert services.ask("GET", "/api/v1/session", headers=signed_in)[2]["mailbox"]["address"] == "1001"


def test_the_page_comes_over_https_and_forbids_all_that_is_not_its_own(services):
    status, headers, page = services.ask("GET", "/")
    assert status == 200 and b"<html" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def schemathesis(services, headers, operations):
    """Runs Schemathesis over some operations of the document, each with requests that fit it and that do not."""
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    command = [program, "run", f"https://localhost:{services.port}/api/v1/openapi.json", "--tls-verify", services.ca]
    command += ["--url", f"https://localhost:{services.port}/api/v1", "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", "15", "--seed", "1", "--request-timeout", "20", "--no-color"]
    # What the document says of a body is not all: a number may be forbidden, a password weak. And the credentials go along
    # with every request, also with those that are to lack them; those are walked in the tests of `src/web`.
    command += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection,ignored_auth"]
    for operation in operations:
        command += ["--include-operation-id", operation]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(command, cwd=services.directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def operations(services, is_wanted):
    document = services.ask("GET", "/api/v1/openapi.json")[2]
    every = [operation for path in document["paths"].values() for operation in path.values()]
    return [operation["operationId"] for operation in every if is_wanted(operation)]


# What ends the session, or never ends by itself.
NOT_WALKED = {"signOut", "changePassword", "events"}


@pytest.mark.timeout(300)
def test_the_services_of_owners_keep_their_contract(services, signed_in):
    def is_wanted(operation):
        return operation["operationId"] not in NOT_WALKED and operation["tags"] != ["admin"]

    schemathesis(services, signed_in, operations(services, is_wanted))


@pytest.mark.timeout(300)
def test_the_services_of_administrators_keep_their_contract(services):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    schemathesis(services, headers, operations(services, lambda operation: operation["tags"] == ["admin"]))


def test_guessing_over_ten_connections_and_a_restart_ends_in_a_lock(services, signed_in):
    services.mailbox("add", "1002", "--name", "Bob Ito")
    wrong = 0
    for attempt in range(11):
        if attempt == 5:
            services.stop()
            services.start()
        status, headers, answer = services.sign_in("1002", f"guess number {attempt}", f"127.0.0.{attempt + 10}")
        if answer["error"] != "wrong":
            break
        wrong += 1
    assert (wrong, status, answer["error"]) == (10, 429, "locked")
    assert int(headers["Retry-After"]) > 600
    assert services.ask("GET", "/api/v1/session", headers=signed_in)[0] == 200, "sessions outlive the restart"
    services.mailbox("unlock", "1002", "--web")
    assert services.sign_in("1002", "another guess", "127.0.0.9")[2]["error"] == "wrong"
