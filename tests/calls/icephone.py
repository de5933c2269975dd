"""A SIP phone of ours around aioice on a host of the lab: media to the edge by TCP and TLS, and restarts of ICE."""

import json
import os
import subprocess
import sys
import time

import numpy

import speech
from edge_process import REPOSITORY, SECRET
from gateway import mu_law
from service import PIN
from stun import classic_token

SCRIPT = os.path.join(REPOSITORY, "tests", "clients", "ice_phone.py")


class IcePhone:
    """One phone, one call. Its relays are (address, port, whether by TLS), the preferred one first; without any it has
    its host candidates alone.
    """

    PROGRAM = sys.executable

    def __init__(self, host, directory, address, user, *, certificate, relays=()):
        self.host, self.directory, self.user = host, directory, user
        authority, certificate, key = map(str, certificate)
        username, password = classic_token(SECRET, user)
        self._settings = {"address": address, "user": user, "ca": authority, "certificate": certificate, "key": key}
        self._settings |= {"username": username, "password": password, "heard": str(directory / "heard.ulaw")}
        self._settings["relays"] = [{"server": server, "port": port, "tls": tls} for server, port, tls in relays]
        self.process, self._said = None, 0

    def start(self):
        with open(self.directory / "events", "wb") as events, open(self.directory / "log", "wb") as log:
            command = (sys.executable, SCRIPT, json.dumps(self._settings))
            self.process = self.host.start_in_time(*command, stdin=subprocess.PIPE, stdout=events, stderr=log, text=True)
        self.await_event("ready")
        return self

    def tell(self, *order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def events(self):
        """What happened so far: time of the monotonic clock, kind, more."""
        text = (self.directory / "events").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def await_event(self, kind, count=1, timeout=30.0):
        """Waits for this event to have come so often; its time and what it tells more."""
        deadline = time.monotonic() + timeout
        while True:
            lives, events = self.process.poll() is None, self.events()
            found = [(at, *more) for at, each, *more in events if each == kind]
            if len(found) >= count:
                return found[count - 1]
            assert lives and time.monotonic() < deadline, f"{self.user}: no {kind} in {events}\n{self.log()[-3000:]}"
            time.sleep(0.02)

    def call(self, target):
        """Calls and returns, once media has a way, its two addresses."""
        self.tell("call", target)
        return self.await_event("connected")[1]

    def say(self, samples):
        """Says it once all before it is said; its number, for `await_said`."""
        self._said += 1
        path = self.directory / f"says-{self._said}.ulaw"
        path.write_bytes(mu_law(samples))
        self.tell("say", str(path))
        return self._said

    def await_said(self, number=None, timeout=60.0):
        """Waits until that, or all, was sent."""
        self.await_event("said", number or self._said, timeout)

    def leave(self, target, said):
        """Calls, says it once the greeting is over, and hangs up."""
        self.start()
        self.call(target)
        self.say(speech.after_greeting(said))
        self.await_said()
        self.hang_up()

    def log_on(self):
        """Gives the PIN of the call's owner and asks for new messages."""
        time.sleep(0.5)
        self.tell("press", PIN + "#")
        self.tell("press", "1")

    def listen_for(self, said, timeout=60.0):
        """Listens until it was heard as it was said."""
        deadline = time.monotonic() + timeout
        while not (found := speech.find(self.heard(), said)).is_heard:
            assert time.monotonic() < deadline, f"{found}\n{self.events()}\n{self.log()[-3000:]}"
            time.sleep(0.3)

    def hang_up(self):
        self.tell("hang_up")
        self.await_event("ended")

    def heard(self):
        path = self.directory / "heard.ulaw"
        return linear(path.read_bytes()) if path.exists() else speech.silence(0)

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()


def linear(coded):
    """The samples of G.711 µ-law, between -1 and 1."""
    bits = ~numpy.frombuffer(coded, numpy.uint8)
    magnitude = ((bits & 15).astype(numpy.int32) * 8 + 132 << (bits >> 4 & 7)) - 132
    return numpy.where(bits & 128, -magnitude, magnitude) / 32768
