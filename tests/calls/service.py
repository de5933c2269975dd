"""The processes of a call on the hosts of the lab: two edges, two routers, the UM service and its workers."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import speech
from edge_process import BINARY, REPOSITORY, Edge, await_that, default_config, merged
from names import Names, with_names
from natlab import OfficeAddresses

A = OfficeAddresses
PIN = "739150"
PILOT = "7000"
REPEAT = "4"
OPERATOR = "9000"
DOMAIN = "example.test"
# What certificates are issued for; phones of secured plans are known by theirs.
CERTIFIED = {
    "router": [f"router.{DOMAIN}", A.ROUTER],
    "gate": [f"gate.{DOMAIN}", A.GATE, A.GATE_INSIDE],
    "um": [f"um.{DOMAIN}"],
    "worker": [f"worker.{DOMAIN}"],
    "caller": [f"caller.{DOMAIN}"],  # no gateway's name: the address counts
    "phone": [f"phone.{DOMAIN}"],
    "secure-phone": [f"secure-phone.{DOMAIN}"],
}
INSIDE_NAMES = {
    f"router.{DOMAIN}": A.ROUTER,
    f"gate.{DOMAIN}": A.GATE_INSIDE,
    f"um.{DOMAIN}": A.INSIDE,
    f"worker.{DOMAIN}": A.INSIDE,
    "edge.example.test": A.EDGE_INSIDE,
}
# Names that reach the gate and the edge from outside.
OUTSIDE_NAMES = {f"gate.{DOMAIN}": A.GATE, "edge.example.test": A.EDGE}
# Whose calls are taken, by plan. What is outside arrives at the gate.
GATEWAYS = [
    {"address": A.PHONE, "dial_plan": "office"},
    {"address": A.PHONE_SECOND, "dial_plan": "office"},
    {"address": A.GATEWAY, "dial_plan": "office"},
    {"address": "203.0.113.0/24", "dial_plan": "office"},
    {"name": f"phone.{DOMAIN}", "dial_plan": "sealed"},
    {"name": f"secure-phone.{DOMAIN}", "dial_plan": "secret"},
]
PLANS = {"office": "unsecured", "sealed": "sip-secured", "secret": "secured"}


# Behind NATs media may begin seconds after the call: that silence ends no recording.
PLAN_KEYS = {"operator": OPERATOR, "recording_idle_secs": 15}


class Role(Edge):
    """A process of another role than the edge, with its own file and its own DNS."""

    def __init__(self, role, name, host, directory, config, metrics):
        super().__init__(host, directory, config)
        self.role, self._metrics = role, metrics
        self.file, self.log_file = directory / f"{name}.toml", directory / f"{name}.log"

    def spawn(self, prefix=()):
        self.write()
        command = with_names(self.directory, A.INSIDE, [*prefix, self.binary, self.role, "--config", self.file])
        with open(self.log_file, "ab") as log:
            self.process = self.host.start_in_time(*command, stdout=log, stderr=subprocess.STDOUT)
        return self

    def telemetry(self):
        host, _, port = self._metrics.rpartition(":")
        return host, int(port)


class Service:
    """Everything that answers calls. Each module has one of its own, with an empty store."""

    def __init__(self, office, directory, authority, changes=None):
        self.office, self.directory, self.authority = office, Path(directory), authority
        self._changes = changes or {}
        self._names, self._number = [], 1000
        self.um = self.router = self.gate = None
        self.edges = {}

    def certificate(self, stem):
        """(authority, certificate, key) of this stem, issued when first asked for."""
        key = self.authority.directory / f"{stem}.key"
        if not key.exists():
            self.authority.issue(stem, CERTIFIED[stem])
        return self.authority.certificate, self.authority.directory / f"{stem}.pem", key

    def start(self, edges=()):
        self._names = [
            Names(self.office.host("inside"), A.INSIDE, INSIDE_NAMES),
            Names(self.office.host("internet"), "203.0.113.1", OUTSIDE_NAMES),
        ]
        short_prompts(self.directory / "prompts")
        for name in edges:
            self.start_edge(name)
        self.um = self._role("um", "um", "inside", self._um(edges), "127.0.0.1:9643").start()
        self.router = self._role("router", "router", "router", self._router(), "127.0.0.1:9642").start()
        self.gate = self._role("router", "gate", "gate", self._gate(), "127.0.0.1:9642").start()
        self.await_routes()
        return self

    def await_routes(self, *routers):
        """Waits until these routers, or both, have found the UM service healthy by each of its transports."""
        for router in routers or (self.router, self.gate):
            healthy = lambda: router.metrics().sum("postern_router_um_services", health="healthy")
            await_that(lambda: healthy() == 2, what="the health of the UM service")

    def _role(self, role, name, host, config, metrics):
        return Role(role, name, self.office.host(host), self.directory, config, metrics)

    def another_router(self, name, address, mode, **more):
        """One more router beside the first, on the port of this address and for TLS on the next; whoever asks for it
        starts and stops it."""
        host, _, port = address.rpartition(":")
        table = self._router_table("router", [address], [f"{host}:{int(port) + 1}"], mode)
        table |= {"metrics": "127.0.0.1:9652"} | more
        return self._role("router", name, "router", self._shared() | {"router": table}, table["metrics"])

    def start_edge(self, name):
        """Starts the edge on this host: `edge` or `edge-second`."""
        outside, inside = (A.EDGE, A.EDGE_INSIDE) if name == "edge" else (A.EDGE_SECOND, A.EDGE_SECOND_INSIDE)
        base = default_config(self.authority)
        pair = self.authority.directory / f"{name}-inside.pem", self.authority.directory / f"{name}-inside.key"
        if not pair[1].exists():
            self.authority.issue(f"{name}-inside", [inside])
        tokens = {
            "listen": f"{inside}:8443",
            "certificate": pair[0],
            "private_key": pair[1],
            "client_ca": self.authority.certificate,
            "allowed_names": [f"worker.{DOMAIN}"],
        }
        changes = {"edge": {"tokens": tokens, "shards": 1}}
        if name != "edge":
            listeners = {"udp": [f"{outside}:3478", f"{inside}:3478"], "tcp": [f"{outside}:3478"], "tls": [f"{outside}:443"]}
            changes["edge"] |= listeners | {"relay": {"addresses": [outside]}}
        edge = Edge(self.office.host(name), self.directory / name, merged(base, changes))
        self.edges[name] = edge.start()
        return edge

    def _shared(self):
        return {
            "sip": {"contact_secrets": [{"id": "a", "value": "what one hop decided for the next"}]},
            "gateway": GATEWAYS,
            "dial_plan": [
                {"name": name, "security": security, "pilots": [PILOT]} | PLAN_KEYS
                for name, security in PLANS.items()
            ],
            "telemetry": {"log": "info,postern_sip=debug,postern_worker=debug,postern_router=debug,postern_um=debug"},
        }

    def _identity(self, stem, host=None):
        authority, certificate, key = self.certificate(stem)
        return {
            "host": f"{host or stem}.{DOMAIN}",
            "certificate": certificate,
            "private_key": key,
            "client_ca": authority,
        }

    def _um(self, edges):
        routers = [A.ROUTER, A.GATE_INSIDE, f"router.{DOMAIN}", f"gate.{DOMAIN}"]
        authority, certificate, key = self.certificate("worker")
        tokens = [A.EDGE_INSIDE if name == "edge" else A.EDGE_SECOND_INSIDE for name in edges]
        return merged(
            {
                "um": {
                    "startup_mode": "dual",
                    "tcp": [f"{A.INSIDE}:5062"],
                    "tls": [f"{A.INSIDE}:5063"],
                    "routers": routers,
                    "runtime_directory": self.directory / "run",
                    "metrics": "127.0.0.1:9643",
                    "recycle": {"interval_secs_min": 1, "new_binary": False},
                }
                | self._identity("um"),
                "worker": {
                    "startup_mode": "dual",
                    "addresses": [A.INSIDE, A.INSIDE_6],
                    "metrics": ["127.0.0.1:9644", "127.0.0.1:9645"],
                    "edge": [
                        {"tokens": f"https://{address}:8443", "certificate": certificate, "private_key": key, "ca": authority}
                        for address in tokens
                    ],
                    "records": {"json": self.directory / "calls.json"},
                }
                | self._identity("worker"),
                "mailbox": {
                    "store": f"sqlite:{self.directory / 'postern.db'}",
                    "recordings": f"file:{self.directory / 'recordings'}",
                    "pin_key_file": self.directory / "pin.key",
                    "prompts": self.directory / "prompts",
                },
            }
            | self._shared(),
            self._changes,
        )

    def _router(self):
        return self._shared() | {
            "router": self._router_table("router", [f"{A.ROUTER}:5060"], [f"{A.ROUTER}:5061"], "redirect")
        }

    def _gate(self):
        outside = [f"{A.GATE}:5061", f"{A.GATE}:443"]
        return self._shared() | {
            "router": self._router_table("gate", [f"{A.GATE_INSIDE}:5060"], [f"{A.GATE_INSIDE}:5061", *outside], "proxy")
        }

    def _router_table(self, name, tcp, tls, mode):
        return {
            "startup_mode": "dual",
            "tcp": tcp,
            "tls": tls,
            "um_services": [f"sip:{A.INSIDE}:5062;transport=tcp", f"sip:um.{DOMAIN}:5063;transport=tls"],
            "mode": mode,
            "metrics": "127.0.0.1:9642",
        } | self._identity(name)

    def mailbox(self, plan="office", name="Alice Ng"):
        """Makes a mailbox with PIN and returns its number."""
        self._number += 1
        number = str(self._number)
        self._administer("add", number, "--plan", plan, "--name", name, "--pin", "-")
        return number

    def export(self, number, directory):
        """The messages of a mailbox as WAV files, oldest first."""
        return self._administer("export", number, "--to", directory).splitlines()

    def _administer(self, *arguments):
        command = [BINARY, "mailbox", *map(str, arguments), "--config", str(self.um.file)]
        done = subprocess.run(command, input=PIN + "\n", capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def records(self):
        """The calls' records so far."""
        path = self.directory / "calls.json"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_record(self, timeout=10.0, **columns):
        """The record of a call with these columns, once it is written."""

        def found():
            return [each for each in self.records() if columns.items() <= each.items()]

        deadline = time.monotonic() + timeout
        while not found():
            assert time.monotonic() < deadline, f"no record with {columns} in {self.records()[-2:]}"
            time.sleep(0.05)
        return found()[-1]

    def calls(self):
        """Calls that the UM service counts now."""
        return self.um.metrics().sum("postern_um_calls")

    def workers(self):
        """Process ids of the workers, by slot."""
        found = {}
        for pid in self.office.host("inside").pids():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"worker" in command[:3] and b"--slot" in command:
                found[command[command.index(b"--slot") + 1].decode()] = pid
        return found

    def await_workers(self):
        """Waits until a worker takes calls in one slot and another stands by; their process ids, by slot."""
        in_state = lambda state: self.um.metrics().sum("postern_um_slot_state_info", state=state)  # noqa: E731
        await_that(lambda: in_state("active") == 1 and in_state("ready") == 1, 30, "a worker in each slot")
        return self.workers()

    def busy_worker(self):
        """Process id and slot of the worker that has a call."""
        metrics = self.um.metrics()
        (slot,) = [slot for slot in self.workers() if metrics.sum("postern_um_calls", slot=slot.lower())]
        return self.workers()[slot], slot

    def logs(self):
        """Everything that the processes said, for a failure's report."""
        return "\n".join(
            f"--- {role.log_file.name}\n{role.log()[-6000:]}" for role in (self.gate, self.router, self.um) if role
        )

    def stop(self):
        for role in (self.gate, self.router, self.um, *self.edges.values()):
            if role:
                role.stop()
        for pid in self.workers().values():
            os.kill(pid, 9)
        for names in self._names:
            names.close()

    def assert_sound(self):
        """Nothing panicked."""
        for role in (self.gate, self.router, self.um, *self.edges.values()):
            panics = re.findall(r".*panicked.*", role.log()) if role else []
            assert not panics, panics


def short_prompts(directory):
    """A beep in place of each English prompt: what callers wait for is not what is tested here."""
    directory = directory / "en"
    if not directory.exists():
        directory.mkdir(parents=True)
        first = speech.write_wav(directory / "beep.wav", speech.tone(0.06))
        for path in Path(REPOSITORY, "src/mailbox/prompts/en").glob("*.wav"):
            (directory / path.name).symlink_to(first)
