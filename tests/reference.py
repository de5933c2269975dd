"""coturn on the edge's host with the edge's addresses, ports and secret: does a client work where the edge is not?

`tests/run tests/foreign --reference` puts it in the edge's place, so that a failure can be told from a bad test.
"""

import signal
import subprocess
import time

from edge_process import REALM, SECRET, Edge
from natlab import Addresses


class Reference(Edge):
    """`turnserver` behind the surface of `Edge`, as far as foreign clients need it."""

    def spawn(self, prefix=()):
        a = Addresses
        relay = self.config["edge"]["relay"]["addresses"]
        low, high = self.config["edge"]["relay"]["ports"].split("-")
        command = [
            *("turnserver", "-n", "--log-file=stdout", "--simple-log", "--no-cli", "--use-auth-secret", "--mobility"),
            *(f"--static-auth-secret={SECRET}", f"--realm={REALM}", f"--min-port={low}", f"--max-port={high}"),
            *(f"--cert={self.config['edge']['certificate']}", f"--pkey={self.config['edge']['private_key']}"),
            *("--tls-listening-port=443", f"--listening-ip={a.EDGE}", f"--listening-ip={a.EDGE_6}"),
            f"--pidfile={self.directory / 'turnserver.pid'}",
            *(f"--relay-ip={address}" for address in relay),
        ]
        if "nat_discovery" in self.config["edge"]:
            command.append(f"--listening-ip={a.EDGE_ALTERNATE}")
        with open(self.log_file, "ab") as log:
            self.process = self.host.start(*command, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory)
        return self

    def start(self, timeout=20.0, prefix=()):
        self.spawn()
        deadline = time.monotonic() + timeout
        while f" {Addresses.EDGE}:443" not in self.host.run("ss", "-Hlnt").stdout:
            assert time.monotonic() < deadline and self.process.poll() is None, self.log()
            time.sleep(0.05)
        return self

    def stop(self):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        return self.process.wait()
