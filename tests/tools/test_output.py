"""What commands print may have a reader that leaves early: they end as if it had read on, and say nothing about it."""

import os
import subprocess

import pytest

from edge_process import Edge, await_that, default_config
from natlab import Addresses

A = Addresses


@pytest.fixture
def file(lab, authority, tmp_path):
    """A configuration, written and not started."""
    edge = Edge(lab.host("edge"), tmp_path, default_config(authority))
    edge.write()
    return edge.file


def run_unread(host, *command, **options):
    """Runs the command with an output that nobody reads from the start."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return host.run(*command, stdout=writer, stderr=subprocess.PIPE, **options)
    finally:
        os.close(writer)


COMMANDS = {
    "check": lambda file, there: ["check", file],
    "token": lambda file, there: ["token", "issue", "--config", file, "--identity", "alice", "--ttl", "60"],
    "certs": lambda file, there: ["certs", "--dir", there / "made"],
    "firewall": lambda file, there: ["firewall", "--config", file],
    "doctor": lambda file, there: ["doctor", "--local", "--config", file],
    "help": lambda file, there: ["--help"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_output_nobody_reads_ends_as_if_it_were_read(lab, binary, file, tmp_path, name):
    command = [binary, *COMMANDS[name](file, tmp_path)]
    unread = run_unread(lab.host("edge"), *command)
    if name == "certs":
        command[3] = tmp_path / "made-again"
    read = lab.host("edge").run(*command)
    assert unread.returncode == read.returncode, unread.stderr
    assert "panicked" not in unread.stderr and "roken pipe" not in unread.stderr


def test_faults_that_nobody_reads_break_nothing(lab, binary, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    for command in (["edge", "--config", tmp_path / "absent"], ["firewall", "--config", tmp_path / "absent"]):
        done = lab.host("edge").run(binary, *command, stdout=writer, stderr=writer)
        assert done.returncode == 1, command
    os.close(writer)


def test_an_output_that_cannot_be_written_is_told(lab, binary, file):
    with open("/dev/full", "wb") as full:
        done = lab.host("edge").run(binary, "check", file, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and "No space left" in done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("lines", [0, 3])
def test_up_ends_like_by_ctrl_c_once_its_reader_has_left(lab, binary, tmp_path, lines):
    host = lab.host("laptop").create()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    try:
        with open(tmp_path / "err", "wb") as err:
            process = host.start(
                *(binary, "up"), stdout=subprocess.PIPE, stderr=err, env=os.environ | {"TMPDIR": str(scratch)}
            )
        read = [process.stdout.readline() for _ in range(lines)]
        assert all(read)
        if lines:
            assert process.poll() is None and list(scratch.iterdir())
        process.stdout.close()
        assert process.wait(20) == 0, (tmp_path / "err").read_text()
        # A worker may have asked for a token before the end, which is logged.
        said = (tmp_path / "err").read_text().splitlines()
        assert all("INFO audit: token issued" in line for line in said), said
        assert not list(scratch.iterdir())
        assert await_that(lambda: host.pids() == [], what="no process left")
    finally:
        host.remove()
