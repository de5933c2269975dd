"""The web services that the page asks, over plain HTTP on loopback: same routes, same refusals, nothing behind them.

It holds the page to what the service demands: the session's cookie, the token on every change, an origin of its own, JSON,
and the strictest content security policy. The cookie is not `Secure` here, as there is no TLS.
"""

import http.server
import json
import os
import queue
import re
import secrets
import threading

from edge_process import REPOSITORY
from fake_mailbox import Mailbox, Phone, peaks, spoken

PAGE = os.path.join(REPOSITORY, "src", "web", "page")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
WRONG_PASSWORDS_MAX = 5
PASSWORD_CHARACTERS_MIN = 12
LOCKED_SECS = 600


class FakeWeb:
    """The service of one mailbox, and the phone at the other end of its calls."""

    def __init__(self, **mailbox):
        self.mailbox = Mailbox(**mailbox)
        self.mailbox.tell = self.publish
        self.phone = Phone(self.mailbox)
        self.password = "correct horse battery"
        self.sessions, self.links = {}, set()
        self.wrong_passwords = 0
        self.events_work = True
        self.listeners = []
        self.refused = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(self, *args))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.cut_events()
        self.server.shutdown()
        self.server.server_close()

    def one_time_link(self):
        token = secrets.token_urlsafe(24)
        self.links.add(token)
        return f"{self.url}/#/link/{token}"

    def end_sessions(self):
        self.sessions.clear()

    def publish(self, event, data):
        for listener in list(self.listeners):
            listener.put(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())

    def break_events(self):
        """From now on nobody gets events, as behind a proxy that does not pass them."""
        self.events_work = False
        self.cut_events()

    def cut_events(self):
        for listener in list(self.listeners):
            listener.put(None)


class Refused(Exception):
    def __init__(self, status, error, headers=()):
        super().__init__(error)
        self.status, self.error, self.headers = status, error, dict(headers)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, web, *args):
        self.web = web
        super().__init__(*args)

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, self.query = self.path.partition("?")
        try:
            if not path.startswith("/api/v1/"):
                return self.asset(path)
            for pattern, method, action, is_open in ROUTES:
                match = re.fullmatch(pattern, path.removeprefix("/api/v1"))
                if match and (method == self.command or (method, self.command) == ("GET", "HEAD")):
                    self.guard(is_open)
                    self.body = self.json(body) if body else None
                    return action(self, *match.groups())
            raise Refused(404, "not_found")
        except Refused as refusal:
            self.web.refused.append((self.command, path, refusal.error))
            content = {"error": refusal.error, "message": f"Refused: {refusal.error}."}
            self.reply(refusal.status, content, refusal.headers)
        except ConnectionError:
            # A player that seeks or closes leaves in the middle of an answer.
            self.close_connection = True

    def guard(self, is_open):
        cookie = re.search(r"\bpostern=(\w+)", self.headers.get("Cookie") or "")
        self.token = cookie[1] if cookie and cookie[1] in self.web.sessions else None
        if not is_open and not self.token:
            raise Refused(401, "signed_out")
        if self.command not in ("GET", "HEAD"):
            if self.headers.get("Origin") not in (None, self.web.url):
                raise Refused(403, "foreign_origin")
            if not is_open and self.headers.get("X-CSRF-Token") != self.web.sessions[self.token]:
                raise Refused(403, "csrf")

    def json(self, body):
        if self.headers.get("Content-Type") != "application/json":
            raise Refused(415, "not_json")
        return json.loads(body)

    def reply(self, status, content=None, headers=()):
        body = b"" if content is None else json.dumps(content).encode()
        self.send(status, body, {"Content-Type": "application/json", "Cache-Control": "no-store"} | dict(headers))

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def asset(self, path):
        name = "index.html" if path == "/" else path.removeprefix("/assets/")
        file = os.path.join(PAGE, name)
        if "/" in name or not os.path.isfile(file) or (path != "/" and not path.startswith("/assets/")):
            raise Refused(404, "not_found")
        headers = {
            "Content-Type": TYPES[os.path.splitext(name)[1]],
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }
        with open(file, "rb") as content:
            self.send(200, content.read(), headers)

    # Session and passwords

    def session(self, token):
        mailbox = self.web.mailbox
        return {
            "mailbox": {
                "address": mailbox.address,
                "name": mailbox.name,
                "plan": mailbox.plan,
                "language": mailbox.options["language"],
            },
            "csrf": self.web.sessions[token],
            "play_on_phone": mailbox.play_on_phone,
            "mail": mailbox.mail,
        }

    def read_session(self):
        self.reply(200, self.session(self.token))

    def sign_in(self):
        web, mailbox = self.web, self.web.mailbox
        if web.wrong_passwords >= WRONG_PASSWORDS_MAX:
            raise Refused(429, "locked", {"Retry-After": str(LOCKED_SECS)})
        wanted = (self.body["mailbox"], self.body.get("plan", mailbox.plan), self.body["password"])
        if wanted != (mailbox.address, mailbox.plan, web.password):
            web.wrong_passwords += 1
            raise Refused(401, "wrong")
        web.wrong_passwords = 0
        token = secrets.token_hex(32)
        web.sessions[token] = secrets.token_hex(16)
        cookie = f"postern={token}; Path=/; HttpOnly; SameSite=Strict"
        self.reply(200, self.session(token), {"Set-Cookie": cookie})

    def sign_out(self):
        del self.web.sessions[self.token]
        self.reply(204, None, {"Set-Cookie": "postern=; Path=/; Max-Age=0"})

    def use_link(self, token):
        if token not in self.web.links:
            raise Refused(410, "used_or_expired")
        self.set_password(self.body["password"])
        self.web.links.discard(token)

    def change_password(self):
        if self.body["old"] != self.web.password:
            raise Refused(401, "wrong")
        self.set_password(self.body["new"])

    def set_password(self, password):
        if len(password) < PASSWORD_CHARACTERS_MIN:
            raise Refused(422, "weak")
        self.web.password = password
        self.reply(204)

    # Messages and greetings

    def messages(self):
        state = re.search(r"\bstate=(\w+)", self.query)
        states = (state[1],) if state else ("new", "saved")
        self.reply(200, {"messages": [one for one in self.web.mailbox.messages.values() if one["state"] in states]})

    def message(self, id):
        if id not in self.web.mailbox.messages:
            raise Refused(404, "not_found")
        return self.web.mailbox.messages[id]

    def message_audio(self, id):
        self.audio(spoken(self.message(id)["duration_secs"]))

    def waveform(self, id):
        self.reply(200, {"peaks": peaks(self.message(id)["duration_secs"])})

    def change_message(self, id):
        self.message(id)
        if self.body["state"] not in ("new", "saved", "deleted"):
            raise Refused(422, "invalid")
        self.web.mailbox.move(id, self.body["state"])
        self.reply(200, self.message(id))

    def greetings(self):
        kinds = self.web.mailbox.greetings.items()
        listed = [{"kind": kind, "recorded": secs is not None, "duration_secs": secs} for kind, secs in kinds]
        self.reply(200, {"greetings": listed})

    def greeting_audio(self, kind):
        secs = self.web.mailbox.greetings.get(kind)
        if secs is None:
            raise Refused(404, "not_found")
        self.audio(spoken(secs))

    def audio(self, whole):
        headers = {"Content-Type": "audio/wav", "Accept-Ranges": "bytes", "Cache-Control": "no-store"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted:
            return self.send(200, whole, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(whole)), len(whole) - 1)
        if first >= len(whole):
            return self.send(416, b"", headers | {"Content-Range": f"bytes */{len(whole)}"})
        self.send(206, whole[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(whole)}"})

    # Options and PIN

    def options(self):
        self.reply(200, self.web.mailbox.options)

    def change_options(self):
        if not set(self.body) <= set(self.web.mailbox.options) - {"languages"}:
            raise Refused(422, "invalid")
        self.web.mailbox.change_options(self.body)
        self.reply(200, self.web.mailbox.options)

    def reset_pin(self):
        if not self.web.mailbox.mail:
            raise Refused(409, "no_mail")
        self.web.mailbox.pins_sent += 1
        self.reply(202, {"sent_to": "a…@example.test"})

    # Calls

    def place_call(self):
        mailbox = self.web.mailbox
        number = self.body.get("to", mailbox.options["play_on_phone_number"])
        purpose = {name: value for name, value in self.body.items() if name != "to"}
        if number is None or len(purpose) != 1 or not set(purpose) <= {"play", "record"}:
            raise Refused(422, "invalid")
        if not mailbox.allowed(number):
            raise Refused(403, "not_allowed")
        if mailbox.live_call():
            raise Refused(409, "busy")
        self.reply(201, mailbox.place(purpose, number).info())

    def call(self, id):
        if id not in self.web.mailbox.calls:
            raise Refused(404, "not_found")
        return self.web.mailbox.calls[id]

    def read_call(self, id):
        self.reply(200, self.call(id).info())

    def hang_up(self, id):
        call = self.call(id)
        if call.state != "disconnected":
            call.become("disconnected", "none")
        self.reply(204)

    def events(self):
        if not self.web.events_work:
            raise Refused(503, "unavailable")
        listener = queue.Queue()
        self.web.listeners.append(listener)
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        try:
            self.wfile.write(b": here\n\n")
            while (event := self.next_event(listener)) is not None:
                self.wfile.write(event)
        except OSError:
            pass
        finally:
            self.web.listeners.remove(listener)

    @staticmethod
    def next_event(listener):
        try:
            return listener.get(timeout=15)
        except queue.Empty:
            return b": still here\n\n"


# Pattern below /api/v1, method, action, whether it needs no session.
ROUTES = [
    (r"/session", "GET", Handler.read_session, False),
    (r"/session", "POST", Handler.sign_in, True),
    (r"/session", "DELETE", Handler.sign_out, False),
    (r"/links/([\w-]+)/password", "POST", Handler.use_link, True),
    (r"/password", "PUT", Handler.change_password, False),
    (r"/messages", "GET", Handler.messages, False),
    (r"/messages/([\w-]+)", "PATCH", Handler.change_message, False),
    (r"/messages/([\w-]+)/audio", "GET", Handler.message_audio, False),
    (r"/messages/([\w-]+)/waveform", "GET", Handler.waveform, False),
    (r"/greetings", "GET", Handler.greetings, False),
    (r"/greetings/([\w-]+)/audio", "GET", Handler.greeting_audio, False),
    (r"/options", "GET", Handler.options, False),
    (r"/options", "PATCH", Handler.change_options, False),
    (r"/pin", "POST", Handler.reset_pin, False),
    (r"/calls", "POST", Handler.place_call, False),
    (r"/calls/([\w-]+)", "GET", Handler.read_call, False),
    (r"/calls/([\w-]+)", "DELETE", Handler.hang_up, False),
    (r"/events", "GET", Handler.events, False),
]
