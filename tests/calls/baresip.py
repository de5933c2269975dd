"""baresip as a phone on a host of the lab, driven over its control socket."""

import contextlib
import glob
import json
import os
import socket
import subprocess
import time

import speech
from edge_process import await_that
from names import with_names
from service import PIN

CONTROL = 4444
MODULES = (
    "stdio g711 aufile aubridge sndfile srtp dtls_srtp stun turn ice uuid account menu ctrl_tcp".split()
)


class Baresip:
    """One phone with one account. Its line is `user`; media options are baresip's account parameters."""

    PROGRAM = "baresip"

    def __init__(self, host, directory, address, user, transport="tcp", *, media=(), certificate=None, dns=None):
        self.host, self.directory, self.address, self.user, self.transport = host, directory, address, user, transport
        self._certificate, self._dns, self._media = certificate, dns, list(media)
        self.process = self._control = None
        self._input, self.events = b"", []

    def start(self, says=None):
        """Starts it; `says` is what the microphone hears once a call stands, after which it hangs up."""
        microphone = speech.write_wav(self.directory / "says.wav", says if says is not None else speech.silence(120))
        config = [
            f"sip_listen {self.address}:5080",
            f"audio_source aufile,{microphone}",
            "audio_player aubridge,sink",
            "audio_alert aubridge,alert",
            "audio_txmode thread",
            "audio_srate 8000-8000",
            "audio_channels 1-1",
            # What a loaded machine holds up is late, and not lost.
            "audio_buffer 20-2000",
            "jitter_buffer_delay 2-50",
            f"ctrl_tcp_listen 127.0.0.1:{CONTROL}",
            f"snd_path {self.directory}",
            "rtp_ports 30000-30100",
            "rtcp_mux no",
            "call_local_timeout 60",
            "call_max_calls 2",
            "module_path /usr/lib/baresip/modules",
        ]
        if self._certificate:
            authority, certificate, key = self._certificate
            pair = self.directory / "phone.pem"
            pair.write_text(certificate.read_text() + key.read_text())
            config += [f"sip_certificate {pair}", f"sip_cafile {authority}"]
        if self._dns:
            config += [f"dns_server {self._dns}:53"]
        temporary = ("account", "menu", "ctrl_tcp")
        config += [f"{'module_app' if name in temporary else 'module'} {name}.so" for name in MODULES]
        (self.directory / "config").write_text("\n".join(config) + "\n")
        account = [f"<sip:{self.user}@{self.address};transport={self.transport}>", "regint=0", "audio_codecs=pcmu"]
        (self.directory / "accounts").write_text(";".join(account + self._media) + "\n")
        (self.directory / "contacts").write_text("")
        command = ["baresip", "-f", str(self.directory), "-n", self.address, "-t", "110", "-s"]
        if self._dns:
            command = with_names(self.directory, self._dns, command)
        self._output = open(self.directory / "output", "wb")
        environment = os.environ | {"HOME": str(self.directory)}
        self.process = self.host.start_in_time(*command, stdout=self._output, stderr=subprocess.STDOUT, env=environment)
        self._control = await_that(self._connect, what=f"baresip of {self.user}")
        return self

    def _connect(self):
        assert self.process.poll() is None, self.log()[-2000:]
        control = self.host.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            control.connect(("127.0.0.1", CONTROL))
        except ConnectionRefusedError:
            control.close()
            return None
        control.setblocking(False)
        return control

    def log(self):
        """What it said, but for its running bit rates."""
        lines = (self.directory / "output").read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if line and "audio=" not in line)

    def tell(self, command, parameters=""):
        """Gives a command, as typed at its prompt without the slash."""
        message = json.dumps({"command": command, "params": parameters, "token": "t"}).encode()
        self._control.sendall(b"%d:%s," % (len(message), message))

    def take_events(self):
        """Types of all events so far."""
        with contextlib.suppress(BlockingIOError):
            while piece := self._control.recv(65536):
                self._input += piece
        while b":" in self._input:
            length, _, rest = self._input.partition(b":")
            if len(rest) < int(length) + 1:
                break
            message, self._input = json.loads(rest[: int(length)]), rest[int(length) + 1 :]
            if message.get("event"):
                self.events.append(message)
        return [event["type"] for event in self.events]

    def await_event(self, kind, timeout=15.0):
        """Waits for an event of this type and returns it; whatever comes at the end of a call ends the waiting."""

        def came():
            kinds = self.take_events()
            assert kind in kinds or "CALL_CLOSED" not in kinds, f"{self.events[-1]}\n{self.log()[-3000:]}"
            return kind in kinds

        await_that(came, timeout, f"{self.user}: {kind} (there was {[event['type'] for event in self.events]})")
        return next(event for event in self.events if event["type"] == kind)

    def call(self, target, timeout=15.0):
        """Calls and returns when the call stands."""
        self.events.clear()
        self.tell("dial", target)
        return self.await_event("CALL_ESTABLISHED", timeout)

    def refused(self, target, timeout=15.0):
        """Calls and returns why it was refused."""
        self.events.clear()
        self.tell("dial", target)
        await_that(lambda: "CALL_CLOSED" in self.take_events(), timeout, "the refusal")
        return next(event for event in self.events if event["type"] == "CALL_CLOSED")["param"]

    def await_end(self, timeout=30.0):
        """Waits until the call has ended by either side."""
        await_that(lambda: "CALL_CLOSED" in self.take_events(), timeout, f"the end of {self.user}'s call")

    def press(self, keys, pause=0.25):
        """Presses keys one after the other; each takes baresip about 0.15 s."""
        for key in keys:
            self.tell("sndcode", key)
            time.sleep(pause)

    def leave(self, target, said, greeting_secs=3.0):
        """Calls, says it once the greeting is over, and hangs up."""
        self.start(speech.after_greeting(said, greeting_secs))
        self.call(target)
        self.await_end()

    def await_said(self, secs, timeout=30.0):
        """Waits until so much of what it says has left."""
        await_that(lambda: len(self._dumped("enc")) >= secs * speech.RATE, timeout, f"{secs} s of words", interval=0.1)

    def log_on(self):
        """Gives the PIN of the call's owner and asks for new messages."""
        time.sleep(0.5)
        self.press(PIN + "#")
        self.press("1")

    def listen_for(self, said, timeout=20.0, again=None):
        """Listens until it was heard as it was said. `again` is the key that plays it once more, for a phone that stumbled
        meanwhile: what is damaged in the mailbox stays so."""
        for _ in range(3 if again else 0):
            if self._hears(said, len(said) / speech.RATE + 7.0):
                return
            self.press(again)
        assert self._hears(said, timeout), f"{speech.find(self.heard(), said)}\n{self.log()[-3000:]}"

    def _hears(self, said, timeout):
        deadline = time.monotonic() + timeout
        while not (found := speech.find(self.heard(), said).is_heard) and time.monotonic() < deadline:
            time.sleep(0.3)
        return found

    def hang_up(self):
        self.tell("hangup")
        self.await_end()

    def heard(self):
        """Everything that was received in the calls so far."""
        return self._dumped("dec")

    def _dumped(self, which):
        paths = sorted(glob.glob(str(self.directory / f"dump-*-{which}.wav")), key=os.path.getmtime)
        parts = [speech.read_wav(path)[0] for path in paths]
        return speech.numpy.concatenate(parts) if parts else speech.silence(0)

    def forget(self):
        """Forgets what was heard."""
        for path in glob.glob(str(self.directory / "dump-*.wav")):
            os.remove(path)

    def stop(self):
        if self._control:
            self._control.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            self._output.close()
