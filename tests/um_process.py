"""A UM service with its workers on a host of the lab, from one file, alone: its configuration, its start and its end."""

import contextlib
import os
import signal
import subprocess

from edge_process import await_that

_CONFIGURATION = """
[um]
startup_mode = "tcp"
tcp = ["127.0.0.1:5062"]
runtime_directory = "run"
{um}
[worker]
startup_mode = "tcp"
addresses = ["127.0.0.1"]
rtp_ports = "20000-20099"
[mailbox]
[[gateway]]
address = "127.0.0.1"
dial_plan = "office"
[[dial_plan]]
name = "office"
pilots = ["7000"]
"""


def configuration(um=""):
    """The text of a file, with more keys of `[um]`."""
    return _CONFIGURATION.format(um=um)


@contextlib.contextmanager
def running(machine, binary, file, is_ready):
    """The service's process, once `is_ready()`. Nothing of it is left on the host afterwards."""
    log_file = file.with_suffix(".log")
    with open(log_file, "wb") as log:
        process = machine.start(binary, "um", "--config", file, stdout=log, stderr=log)
    try:
        await_that(is_ready, 40, "the UM service and its workers")
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for pid in machine.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert "panicked" not in log_file.read_text(errors="replace")
