"""One network namespace: made, entered, wired and removed.

Everything here needs root. A namespace is known by its name alone, so that another process (`tests/lab down --all`)
can remove what a killed one left behind.
"""

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import threading
import time

RUN = "/run/netns"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def ahead():
    """What makes a command run ahead of others; nothing where the system does not let us."""
    command = ("chrt", "--rr", "1")
    return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else ()


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def ip(*arguments):
    """Runs `ip`, raising with its own words when it refuses."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """A network namespace of its own, with loopback up."""

    def __init__(self, name):
        self.name = name
        self.path = f"{RUN}/{name}"

    def create(self):
        ip("netns", "add", self.name)
        self.batch("link set lo up")
        self.sysctl("ipv6.conf.default.accept_dad", 0)  # addresses are usable at once
        return self

    def exists(self):
        return os.path.exists(self.path)

    def batch(self, *lines):
        """Runs lines of `ip` commands in here; the first refusal raises."""
        done = subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {done.stderr.strip()}")

    def wire(self, interface, other, other_interface):
        """A cable between `interface` here and `other_interface` there."""
        ip(
            *("link", "add", interface, "netns", self.name, "type", "veth"),
            *("peer", "name", other_interface, "netns", other.name),
        )

    def nft(self, ruleset):
        done = subprocess.run(
            self.argv("nft", "-f", "-"), input=ruleset, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {done.stderr.strip()}")

    def sysctl(self, key, value):
        with self.entered(), open("/proc/sys/net/" + key.replace(".", "/"), "w") as file:
            file.write(str(value))

    def argv(self, *command):
        """The command line that runs `command` in here; the process it starts is the command itself."""
        return ["nsenter", f"--net={self.path}", "--", *map(str, command)]

    def run(self, *command, timeout=30, **options):
        """Runs to the end and returns the completed process; output is text and is captured."""
        return subprocess.run(
            self.argv(*command),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace", "stdin": subprocess.DEVNULL}
            | options,
            timeout=timeout,
        )

    def start_in_time(self, *command, **options):
        """As `start`, ahead of what others run: who makes or carries sound does not wait for a machine that is loaded."""
        return self.start(*ahead(), *command, **options)

    def start(self, *command, **options):
        """Starts a process in here; it dies with its parent thread's process group only by `stop`."""
        return subprocess.Popen(self.argv(*command), **{"stdin": subprocess.DEVNULL} | options)

    @contextlib.contextmanager
    def entered(self):
        """The calling thread lives in this namespace meanwhile; sockets opened here stay here."""
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            _setns(there)
            try:
                yield self
            finally:
                _setns(home)
        finally:
            os.close(home)
            os.close(there)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
        with self.entered():
            return socket.socket(family, kind, protocol)

    def pids(self):
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def remove(self):
        """Ends every process in here, then the namespace itself with all its interfaces."""
        if not self.exists():
            return
        for signal_number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0)):
            deadline = time.monotonic() + patience
            pids = [pid for pid in self.pids() if pid != os.getpid()]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
            while self.pids() and time.monotonic() < deadline:
                time.sleep(0.02)
        ip("netns", "delete", self.name)


def remove_matching(prefix):
    """Removes every namespace whose name starts so, whoever made it. Returns their names."""
    try:
        names = sorted(name for name in os.listdir(RUN) if name.startswith(prefix))
    except FileNotFoundError:
        return []
    for name in names:
        Namespace(name).remove()
    return names
