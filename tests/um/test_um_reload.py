"""`postern um` on SIGHUP: the file is loaded again, whole or not at all, and fresh workers take over."""

import contextlib
import signal
import socket

import pytest

from edge_process import await_that
from um_process import configuration, running

CONFIGURATION = configuration(
    """max_calls = 7
metrics = "127.0.0.1:9643"
[um.recycle]
interval_secs_min = 0
"""
)


@pytest.fixture
def machine(lab):
    host = lab.host("reloaded").create()
    yield host
    host.remove()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "postern.toml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def service(machine, binary, file):
    with running(machine, binary, file, lambda: settled(machine)) as process:
        yield process


def metrics(machine):
    """The service's metrics as lines; empty while nobody listens."""
    connection = machine.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.closing(connection):
        connection.settimeout(5)
        try:
            connection.connect(("127.0.0.1", 9643))
            connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: um\r\n\r\n")
            data = b""
            while piece := connection.recv(65536):
                data += piece
        except OSError:
            return []
    return data.decode().splitlines()


def settled(machine):
    """One worker takes calls, the other waits."""
    states = [line for line in metrics(machine) if line.startswith("postern_um_slot_state_info") and line.endswith(" 1")]
    return any('"active"' in line for line in states) and any('"ready"' in line for line in states)


def workers(file):
    return [int((file.parent / "run" / f"slot-{slot}.lock").read_text()) for slot in "ab"]


def test_a_changed_file_applies_and_fresh_workers_take_over(machine, service, file):
    assert "postern_um_calls_max 7" in metrics(machine)
    former = workers(file)
    file.write_text(CONFIGURATION.replace("max_calls = 7", "max_calls = 9"))
    service.send_signal(signal.SIGHUP)
    await_that(lambda: "postern_um_calls_max 9" in metrics(machine), 20, "the new limit")
    await_that(lambda: 'postern_um_recycles_total{cause="asked"} 1' in metrics(machine), 40, "a recycle")
    await_that(lambda: settled(machine) and not set(workers(file)) & set(former), 40, "two fresh workers")
    assert 'postern_um_configuration_reloads_total{result="applied"} 1' in metrics(machine)
    assert 'postern_um_workers_ended_total{end="crashed"} 0' in metrics(machine)
    assert service.poll() is None


@pytest.mark.parametrize(
    "broken, told",
    [
        (CONFIGURATION.replace("max_calls = 7", "max_calls = 0"), "um.max_calls"),
        (CONFIGURATION.replace(":5062", ":5072"), "um.tcp"),
        # The former worker still writes to the store that it has.
        (CONFIGURATION.replace("[mailbox]", '[mailbox]\nstore = "sqlite:other.db"'), "mailbox.store"),
        (CONFIGURATION + '[telemetry]\nlog = "debug"\n', "telemetry.log"),
        ("[um", "postern.toml:"),
    ],
)
def test_a_file_that_cannot_apply_changes_nothing_and_is_told(machine, service, file, broken, told):
    former = workers(file)
    file.write_text(broken)
    service.send_signal(signal.SIGHUP)
    refused = 'postern_um_configuration_reloads_total{result="refused"} 1'
    await_that(lambda: refused in metrics(machine), 20, "a refusal")
    assert "postern_um_calls_max 7" in metrics(machine) and settled(machine)
    assert workers(file) == former
    log = lambda: file.with_suffix(".log").read_text().splitlines()
    await_that(lambda: any("reload refused" in line and told in line for line in log()), what="a line in the log")
