"""linphonec as a phone on a host of the lab, driven by its command line."""

import subprocess
import time

import speech
from edge_process import await_that
from service import PIN

_SETTINGS = """
[sip]
sip_port=-1
sip_tcp_port={port}
sip_tls_port=-1
contact="{user}" <sip:{user}@{address}:{port};transport=tcp>
guess_hostname=0
default_proxy=-1
media_encryption={encryption}
register_only_when_network_is_up=0
use_rfc2833=1
use_info=0
verify_server_certs=0
[rtp]
audio_rtp_port=31000-31100
[net]
mtu=1300
[sound]
echocancellation=0
{codecs}
"""

_CODECS = "\n".join(
    f"[audio_codec_{number}]\nmime={mime}\nrate={rate}\nchannels=1\nenabled=1\n"
    for number, (mime, rate) in enumerate((("PCMU", 8000), ("PCMA", 8000), ("telephone-event", 8000)))
)


class Linphone:
    """One phone; `encryption` is none, srtp (SDES) or dtls. It says a WAV file and records what it hears."""

    PORT = 5070
    PROGRAM = "linphonec"

    def __init__(self, host, directory, address, user, encryption="none"):
        self.host, self.directory, self.address, self.user = host, directory, address, user
        self._encryption, self._is_over = encryption, False
        self.process = None

    def start(self, says=None):
        microphone = speech.write_wav(self.directory / "says.wav", says if says is not None else speech.silence(60))
        settings = _SETTINGS.format(
            port=self.PORT, user=self.user, address=self.address, encryption=self._encryption, codecs=_CODECS
        )
        (self.directory / "rc").write_text(settings)
        # Without it there is no database, and without that no start.
        (self.directory / ".local/share/linphone").mkdir(parents=True)
        self._output = open(self.directory / "output", "wb")
        self.process = self.host.start_in_time(
            *("linphonec", "-c", self.directory / "rc", "-d", "6", "-l", self.directory / "log"),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={"HOME": str(self.directory), "PATH": "/usr/bin:/bin"},
            text=True,
        )
        await_that(lambda: "linphonec>" in self._said(), what="linphonec")
        self.tell("soundcard use files")
        self.tell(f"play {microphone}")
        self.tell(f"record {self.directory / 'heard.wav'}")
        return self

    def _said(self):
        assert self.process.poll() is None, f"linphonec ended\n{self.log()[-2000:]}"
        return (self.directory / "output").read_text(errors="replace")

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def call(self, target, timeout=15.0):
        """Calls and returns when media runs."""
        self.tell(f"call {target}")
        await_that(lambda: "connected." in self._said() or "Media streams established" in self._said(), timeout, "the call")

    def press(self, keys, pause=0.35):
        for key in keys:
            self.tell(key)
            time.sleep(pause)

    def await_end(self, timeout=30.0):
        await_that(lambda: "ended" in self._said() or "terminated" in self._said(), timeout, "the end of the call")

    def leave(self, target, said):
        """Calls, says it once the greeting is over, and hangs up."""
        says = speech.after_greeting(said)
        self.start(says)
        self.call(target)
        # It begins to say it a while after the call stands, later still on a busy machine.
        time.sleep(len(says) / speech.RATE + 2)
        self.hang_up()

    def log_on(self):
        """Gives the PIN of the call's owner and asks for new messages."""
        time.sleep(0.5)
        self.press(PIN + "#")
        self.press("1")

    def listen_for(self, said, again=None):
        """Listens as long as it takes, hangs up, and judges: what it records is on the disk only then."""
        time.sleep(len(said) / speech.RATE + 10)
        self.hang_up()
        found = speech.find(self.heard(), said)
        assert found.is_heard, f"{found}\n{self.log()[-1500:]}"

    def hang_up(self):
        if self._is_over:
            return
        self._is_over = True
        self.tell("terminate")
        self.await_end()

    def heard(self):
        path = self.directory / "heard.wav"
        return speech.read_wav(path)[0] if path.exists() else speech.silence(0)

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._output.close()
