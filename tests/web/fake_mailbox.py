"""A mailbox as the web services show one: messages, greetings, options, one outgoing call. In memory, for the page's tests."""

import datetime
import io
import math
import threading
import uuid
import wave

RATE = 8000


def spoken(secs):
    """A WAV of `secs` whose loudness rises and falls, so that a waveform has something to show."""
    frames = bytearray()
    for index in range(int(secs * RATE)):
        loudness = abs(math.sin(index / RATE * 2.1)) * abs(math.sin(index / RATE * 7.3))
        frames += int(9000 * loudness * math.sin(index / RATE * 2 * math.pi * 220)).to_bytes(2, "little", signed=True)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(bytes(frames))
    return file.getvalue()


def peaks(secs, count=200):
    """Heights 0 to 1 of what `spoken` makes."""
    times = [secs * (index + 0.5) / count for index in range(count)]
    return [round(abs(math.sin(time * 2.1)) * abs(math.sin(time * 7.3)), 3) for time in times]


class Mailbox:
    """What one mailbox holds. `tell(event, data)` is called after each change."""

    def __init__(self, address="1001", name="Alice Ng", plan="office", mail=True, play_on_phone=True):
        self.address, self.name, self.plan = address, name, plan
        self.mail, self.play_on_phone = mail, play_on_phone
        self.lock = threading.RLock()
        self.messages = {}
        self.greetings = {"own": None, "out-of-office": None, "name": None}
        self.options = {
            "greeting": "standard",
            "missed_call_mail": False,
            "play_on_phone_number": None,
            "language": "en",
            "languages": ["en"],
        }
        self.calls = {}
        self.allowed = lambda number: True
        self.pins_sent = 0
        self.tell = lambda event, data: None

    def leave_message(self, number=None, name=None, secs=2.0, state="new", partial=False, ago_secs=0):
        received = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=ago_secs)
        id = str(uuid.uuid4())
        with self.lock:
            self.messages[id] = {
                "id": id,
                "state": state,
                "received": received.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "caller": {"number": number, "name": name},
                "duration_secs": secs,
                "partial": partial,
            }
        self.tell("messages", {})
        return id

    def move(self, id, state):
        with self.lock:
            self.messages[id]["state"] = state
        self.tell("messages", {})

    def change_options(self, change):
        with self.lock:
            self.options.update(change)
        self.tell("options", {})

    def record_greeting(self, kind, secs):
        with self.lock:
            self.greetings[kind] = secs

    def live_call(self):
        return next((call for call in self.calls.values() if call.state != "disconnected"), None)

    def place(self, purpose, number):
        call = Call(self, purpose, number)
        with self.lock:
            self.calls[call.id] = call
        return call


class Call:
    """An outgoing call. The test moves it on, as the phone at its other end would."""

    def __init__(self, mailbox, purpose, number):
        self.mailbox, self.purpose, self.number = mailbox, purpose, number
        self.id = str(uuid.uuid4())
        self.state, self.cause, self.sip_status = "idle", None, None
        self.was_connected = False

    def info(self):
        return {"id": self.id, "state": self.state, "cause": self.cause, "sip_status": self.sip_status}

    def become(self, state, cause=None, sip_status=None):
        self.was_connected |= state == "connected"
        self.state, self.cause, self.sip_status = state, cause, sip_status
        if state == "disconnected" and self.was_connected and "record" in self.purpose:
            self.mailbox.record_greeting(self.purpose["record"]["greeting"], 4.0)
        self.mailbox.tell("call", self.info())


class Phone:
    """The phone that is rung: what a test asks of it."""

    def __init__(self, mailbox):
        self.mailbox = mailbox

    @property
    def call(self):
        call = self.mailbox.live_call()
        assert call, "no call is going on"
        return call

    def is_called(self):
        self.call.become("connecting")

    def rings(self):
        self.call.become("alerted", sip_status=180)

    def picks_up(self):
        self.call.become("connected", sip_status=200)

    def hangs_up(self):
        self.call.become("disconnected", "none")

    def is_busy(self):
        self.call.become("disconnected", "busy", 486)

    def is_never_picked_up(self):
        self.call.become("disconnected", "no_answer", 408)

    def is_out_of_reach(self):
        self.call.become("disconnected", "unavailable", 503)
