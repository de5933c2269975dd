"""The rooms use only what they may: the table of the design, over what Cargo knows."""

import json
import os
import re
import subprocess

import pytest

from edge_process import REPOSITORY

# Room -> rooms that its code may use. A new edge is a decision, written down in ARCHITECTURE.md first.
MAY_USE = {
    "token": set(),
    "turn": {"token"},
    "net": set(),
    "config": {"sip", "dialplan"},
    "telemetry": set(),
    "edge": {"token", "turn", "net", "config", "telemetry"},
    "ice": {"turn"},
    "sip": set(),
    "media": set(),
    "mailbox": set(),
    "dialplan": {"sip"},
    "slots": set(),
    "store": {"mailbox"},
    "mail": {"mailbox", "media", "store"},
    "transport": {"sip", "net"},
    "web": {"mailbox", "store", "net", "telemetry"},
    "router": {"sip", "dialplan", "transport", "net", "config", "telemetry"},
    "um": {"sip", "mailbox", "dialplan", "slots", "mail", "store", "web", "transport", "net", "config", "telemetry"},
    "worker": {
        "sip", "dialplan", "slots", "media", "mailbox", "store", "ice", "turn", "token", "transport", "net", "config",
        "telemetry",
    },
    "tools": {
        "token", "ice", "sip", "dialplan", "slots", "media", "mailbox", "mail", "store", "transport", "net", "config",
        "telemetry", "edge", "router", "um", "worker",
    },
}
CORES = {"token", "turn", "ice", "sip", "media", "mailbox", "dialplan", "slots"}
# What would make a core know of sockets, clocks, threads or logging.
NOT_IN_CORES = {"tokio", "mio", "libc", "socket2", "rustls", "tracing", "log", "axum", "rand", "getrandom"}
NOT_IN_THE_BUILD = {"openssl", "openssl-sys", "native-tls", "rustls-pemfile", "figment"}


@pytest.fixture(scope="module")
def packages():
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {package["name"]: package for package in json.loads(done.stdout)["packages"]}


def uses(package, development=False):
    kinds = (None, "build", "dev") if development else (None, "build")
    return {dependency["name"] for dependency in package["dependencies"] if dependency["kind"] in kinds}


def test_every_room_is_in_the_table(packages):
    rooms = {name.removeprefix("postern-") for name in packages if name.startswith("postern-")}
    assert rooms == set(MAY_USE)


@pytest.mark.parametrize("room", MAY_USE)
def test_a_room_uses_only_the_rooms_it_may(packages, room):
    used = {name.removeprefix("postern-") for name in uses(packages[f"postern-{room}"]) if name.startswith("postern-")}
    assert used <= MAY_USE[room]


@pytest.mark.parametrize("room", sorted(CORES))
def test_a_core_uses_no_operating_system(packages, room):
    assert not uses(packages[f"postern-{room}"]) & NOT_IN_CORES


def test_the_lock_holds_one_tls_stack():
    with open(os.path.join(REPOSITORY, "Cargo.lock")) as file:
        names = set(re.findall(r'^name = "(.+)"$', file.read(), re.MULTILINE))
    assert not names & NOT_IN_THE_BUILD


def rust_files():
    for directory, _, files in os.walk(os.path.join(REPOSITORY, "src")):
        for name in files:
            if name.endswith(".rs"):
                path = os.path.join(directory, name)
                with open(path) as file:
                    yield os.path.relpath(path, REPOSITORY), file.read()


def test_unsafe_stays_in_net_and_every_block_says_why_it_is_safe():
    wrong = []
    for path, text in rust_files():
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\bunsafe\b\s*(\{|impl\b|fn\b|extern\b)", line.split("//")[0]):
                before = "\n".join(lines[max(0, number - 6) : number + 1])
                if not path.startswith("src/net/") or ("SAFETY" not in before and "# Safety" not in before):
                    wrong.append(f"{path}:{number + 1}")
    assert not wrong


def test_no_source_file_is_longer_than_800_lines():
    assert not [path for path, text in rust_files() if text.count("\n") > 800]


def test_the_command_line_stays_under_200_lines():
    with open(os.path.join(REPOSITORY, "src", "main.rs")) as file:
        assert sum(1 for _ in file) < 200


def test_nothing_is_left_unfinished_in_the_sources():
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b|todo!\(|unimplemented!\(|#\[ignore|allow\(dead_code\)")
    assert not [path for path, text in rust_files() if pattern.search(text)]
