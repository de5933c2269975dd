"""`postern edge` as a process of its own on a host of the lab: configured, started, asked, reloaded and ended."""

import contextlib
import copy
import json
import os
import signal
import socket
import subprocess
import time

from metrics import Metrics
from natlab import Addresses
from stun import TurnClient, Wire, classic_token

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("POSTERN", os.path.join(REPOSITORY, "target", "debug", "postern"))
SECRET = "a-secret-of-the-tests"
REALM = "example.test"

UDP = (Addresses.EDGE, 3478)
UDP_6 = (Addresses.EDGE_6, 3478)
TLS = (Addresses.EDGE, 443)
TLS_6 = (Addresses.EDGE_6, 443)

# For tests whose many clients share one address: strangers are answered as often as they ask.
GENEROUS = {"limits": {"unauthenticated_answers_per_sec": 1_000_000}}


def await_that(condition, timeout=10.0, what="the condition", interval=0.02):
    """Waits until `condition()` is true and returns its value; fails loudly at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout} s"
        time.sleep(interval)


def to_toml(value):
    """A nested dictionary as TOML; tables by path, lists at the top as arrays of tables, everything else inline."""
    lines = []

    def inline(item):
        if isinstance(item, bool):
            return str(item).lower()
        if isinstance(item, (int, float)):
            return str(item)
        if isinstance(item, (str, os.PathLike)):
            return json.dumps(str(item))
        if isinstance(item, (list, tuple)):
            return "[" + ", ".join(inline(each) for each in item) + "]"
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(each)}" for key, each in item.items()) + "}"

    def table(path, content, mark="[{}]"):
        lines.append(mark.format(path))
        lines.extend(
            f"{json.dumps(key) if '.' in key else key} = {inline(item)}"
            for key, item in content.items()
            if not isinstance(item, dict) or key == "advertise"
        )
        for key, item in content.items():
            if isinstance(item, dict) and key != "advertise":
                table(f"{path}.{key}", item)

    for name, content in value.items():
        if isinstance(content, list):
            for each in content:
                table(name, each, "[[{}]]")
        else:
            table(name, content)
    return "\n".join(lines) + "\n"


def default_config(authority):
    """An edge on every transport and family of the lab. Certificates are issued on first use."""
    a = Addresses
    certificate, key = authority.directory / "edge.pem", authority.directory / "edge.key"
    if not key.exists():
        authority.issue("edge", ["edge.example.test", a.EDGE, a.EDGE_6, a.EDGE_INSIDE])
    return {
        "edge": {
            "realm": REALM,
            "udp": [f"{a.EDGE}:3478", f"[{a.EDGE_6}]:3478", f"{a.EDGE_INSIDE}:3478"],
            "tcp": [f"{a.EDGE}:3478", f"[{a.EDGE_6}]:3478"],
            "tls": [f"{a.EDGE}:443", f"[{a.EDGE_6}]:443"],
            "certificate": certificate,
            "private_key": key,
            "shards": 2,
            "relay": {
                "addresses": [a.EDGE, a.EDGE_6],
                "ports": "50000-59999",
                "allow_peers": ["10.20.0.0/24", "fd20::/64"],
            },
            "auth": {"secrets": [{"id": "2026a", "value": SECRET}]},
        },
        "telemetry": {"listen": "127.0.0.1:9641"},
    }


def merged(base, changes):
    """`base` with `changes` laid over it, tables merged, a None removing its key."""
    result = copy.copy(base)
    for key, change in changes.items():
        if change is None:
            result.pop(key, None)
        elif isinstance(change, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], change)
        else:
            result[key] = change
    return result


class Edge:
    """One edge process. `config` is a dictionary shaped like the configuration file."""

    def __init__(self, host, directory, config, binary=BINARY):
        self.host, self.directory, self.config, self.binary = host, directory, config, binary
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "edge.toml"
        self.log_file = directory / "edge.log"
        self.process = None

    def write(self, config=None):
        if config is not None:
            self.config = config
        self.file.touch(mode=0o600)
        self.file.write_text(to_toml(self.config))

    def spawn(self, prefix=()):
        """Starts the process and does not wait for anything."""
        self.write()
        with open(self.log_file, "ab") as log:
            self.process = self.host.start(
                *prefix, self.binary, "edge", "--config", self.file, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def start(self, timeout=20.0, prefix=()):
        self.spawn(prefix)

        def up():
            assert self.process.poll() is None, f"the edge ended with {self.process.returncode}:\n{self.log()}"
            return self.status("/readyz") == 200 and self.process.poll() is None

        await_that(up, timeout, "/readyz")
        return self

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_lines(self, containing):
        return [line for line in self.log().splitlines() if containing in line]

    def telemetry(self):
        host, _, port = self.config["telemetry"]["listen"].rpartition(":")
        return host, int(port)

    def http(self, path, timeout=5.0):
        """Status and body of a GET at the telemetry listener; (None, "") when nobody answers."""
        connection = self.host.socket(socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.closing(connection):
            connection.settimeout(timeout)
            try:
                connection.connect(self.telemetry())
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n".encode())
                data = b""
                while piece := connection.recv(65536):
                    data += piece
            except OSError:
                return None, ""
        head, _, body = data.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            body = _unchunked(body)
        return (int(head.split()[1]), body.decode()) if head else (None, "")

    def status(self, path):
        return self.http(path)[0]

    def metrics(self):
        status, body = self.http("/metrics")
        assert status == 200, f"/metrics answered {status}"
        return Metrics(body)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def reload(self, config):
        """Writes the configuration and sends SIGHUP; the caller awaits what must change."""
        self.write(config)
        self.signal(signal.SIGHUP)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait(self, timeout=10.0):
        return self.process.wait(timeout)

    def stop(self):
        """Ends it at once (drain and second signal), by force when that does not help. Returns its exit code."""
        if self.process is None:
            return None
        for number, patience in ((signal.SIGINT, 1.0), (signal.SIGINT, 3.0), (signal.SIGKILL, 5.0)):
            if self.process.poll() is not None:
                break
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        return self.process.returncode

    def wire(self, host, transport="udp", family=4, **options):
        """A 5-tuple from `host` to this edge's outside listener."""
        address = Addresses.EDGE if family == 4 else Addresses.EDGE_6
        return Wire(host, (address, 443 if transport == "tls" else 3478), transport, **options)

    def client(self, host, identity="alice", transport="udp", family=4, ttl=3600, secret=SECRET, **options):
        """A TURN client on `host` with a classic token of its own."""
        return TurnClient(self.wire(host, transport, family, **options), *classic_token(secret, identity, ttl))


def _unchunked(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        whole, body = whole + body[:length], body[length + 2 :]
        if length == 0:
            break
    return whole
