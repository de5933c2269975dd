"""A SIP phone for one call: SIP over TLS, media by ICE with aioice, G.711 µ-law in plain RTP. The argument is JSON:

    {"address": "192.168.102.2", "user": "2101",
     "ca": "authority.pem", "certificate": "caller.pem", "key": "caller.key",
     "relays": [{"server": "203.0.113.10", "port": 3478, "tls": false}], "username": "...", "password": "...",
     "heard": "heard.ulaw"}

With relays it has relayed candidates only, by TCP or TLS, from the first of them that answers; each restart of ICE asks
them anew. What it hears is kept in the file of that name. Orders come as JSON lines, `["call", URI]`, `["say", FILE]`,
`["press", KEYS]` and `["hang_up"]`; what happens is told in JSON lines of time, word and more. All of it ends with
standard input.
"""

import asyncio
import contextlib
import json
import logging
import re
import secrets
import ssl
import struct
import sys
import time

import aioice

FRAME = 160  # samples, and octets, of 20 ms
SILENCE = b"\xff" * FRAME


def tell(*what):
    print(json.dumps([time.monotonic(), *what]), flush=True)


class Message:
    """A SIP message as it came."""

    def __init__(self, head, body):
        self.first, *lines = re.sub(r"\r\n[ \t]+", " ", head.strip()).split("\r\n")
        self.lines = [line.partition(":")[::2] for line in lines]
        self.body = body

    def all(self, name):
        return [value.strip() for each, value in self.lines if each.strip().lower() == name]

    def one(self, name):
        return next(iter(self.all(name)), "")


async def next_message(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return Message(head, (await reader.readexactly(int(Message(head, "").one("content-length") or 0))).decode())


class Media:
    """The audio of the call, over the ICE connection that was the last to stand."""

    def __init__(self, wanted):
        self.wanted, self.connection, self.remote = wanted, None, None
        self._heard = open(wanted["heard"], "ab", buffering=0)
        self._ways, self._says, self._tasks = None, [], []

    async def gather(self):
        """Another connection with its own credentials and candidates; `connect` puts it in the former one's place."""
        wanted = self.wanted
        for relay in wanted["relays"] or [None]:
            turn = {}
            if relay:
                context = ssl.create_default_context(cafile=wanted["ca"])
                turn = {
                    "turn_server": (relay["server"], relay["port"]),
                    "turn_transport": "tcp",
                    "turn_ssl": context if relay["tls"] else False,
                    "turn_username": wanted["username"],
                    "turn_password": wanted["password"],
                    "transport_policy": aioice.TransportPolicy.RELAY,
                }
            # RFC 8445 section 6.1.1: who calls controls, also after restarts.
            self.connection = aioice.Connection(ice_controlling=True, use_ipv6=False, **turn)
            # One pair alone is nominated. Towards agents that are not lite aioice nominates all that it has under
            # way and goes by the last of them, where the other side takes the best (RFC 5245 section 8.1.1.2).
            self.connection.remote_is_lite = True
            await self.connection.gather_candidates()
            if self.connection.local_candidates:
                return
        raise ConnectionError("no relay answers")

    def description(self):
        ice, address = self.connection, self.wanted["address"]
        default = ice.get_default_candidate(1)
        lines = ["v=0", f"o=- 1 {time.monotonic_ns()} IN IP4 {address}", "s=-", f"c=IN IP4 {default.host}", "t=0 0"]
        lines += [f"m=audio {default.port} RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=ptime:20", "a=sendrecv", "a=rtcp-mux"]
        lines += [f"a=ice-ufrag:{ice.local_username}", f"a=ice-pwd:{ice.local_password}"]
        lines += [f"a=candidate:{candidate.to_sdp()}" for candidate in ice.local_candidates]
        return "\r\n".join(lines) + "\r\n"

    def is_restarted_by(self, description):
        """RFC 8839 section 4.4.1.1.1: other credentials than before."""
        return credentials(description) != self.remote

    async def connect(self, description):
        """Media goes by the connection last gathered as soon as that stands."""
        ice, self.remote = self.connection, credentials(description)
        ice.remote_username, ice.remote_password = self.remote
        for line in re.findall(r"^a=candidate:(.*)", description, re.MULTILINE):
            candidate = aioice.Candidate.from_sdp(line)
            # RTCP goes with RTP.
            if candidate.component == 1:
                await ice.add_remote_candidate(candidate)
        await ice.add_remote_candidate(None)
        await ice.connect()
        former, self._ways = self._ways, ice
        self._tasks.append(asyncio.create_task(self._hear(ice)))
        if former:
            await former.close()
        else:
            self._tasks.append(asyncio.create_task(self._speak()))
        pair = ice._nominated[1]
        tell("connected", {"local": pair.local_addr[0], "remote": pair.remote_addr[0]})

    def say(self, path):
        with open(path, "rb") as file:
            self._says.append((path, file.read()))

    async def _hear(self, ice):
        with contextlib.suppress(ConnectionError):
            while True:
                packet = await ice.recv()
                if len(packet) > 12 and packet[1] & 127 == 0:
                    self._heard.write(packet[12:])

    async def _speak(self):
        """Speaks as a microphone does: 20 ms of audio every 20 ms, whether or not there is a way for it."""
        began, source = time.monotonic(), secrets.token_bytes(4)
        for number, frame in enumerate(self._frames()):
            await asyncio.sleep(max(0.0, began + number * 0.02 - time.monotonic()))
            header = struct.pack("!BBHI", 0x80, 0, number & 0xFFFF, number * FRAME)
            with contextlib.suppress(ConnectionError):
                await self._ways.send(header + source + frame)

    def _frames(self):
        while True:
            if not self._says:
                yield SILENCE
                continue
            path, audio = self._says.pop(0)
            for at in range(0, len(audio), FRAME):
                yield audio[at : at + FRAME].ljust(FRAME, b"\xff")
            tell("said", path)

    async def close(self):
        for task in self._tasks:
            task.cancel()
        for ice in {self.connection, self._ways} - {None}:
            await ice.close()


def credentials(description):
    """The user fragment and the password of a session description."""
    return tuple(re.search(rf"^a=ice-{name}:(\S+)", description, re.MULTILINE)[1] for name in ("ufrag", "pwd"))


class Phone:
    """The signalling of the call."""

    def __init__(self, wanted):
        self.wanted, self.media = wanted, Media(wanted)
        self._local = f"<sip:{wanted['user']}@{wanted['address']}>;tag={secrets.token_hex(4)}"
        self._call_id, self._cseq = secrets.token_hex(8), 0
        self._remote = self._target = None
        self._routes, self._tasks = [], []
        self._answers = asyncio.Queue()

    async def run(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tell("ready")
        while line := await reader.readline():
            order, *arguments = json.loads(line)
            if order == "say":
                self.media.say(*arguments)
            else:
                await {"call": self.call, "press": self.press, "hang_up": self.hang_up}[order](*arguments)

    async def call(self, target):
        context = ssl.create_default_context(cafile=self.wanted["ca"])
        context.load_cert_chain(self.wanted["certificate"], self.wanted["key"])
        host, port = re.search(r"@([^:;]+):(\d+)", target).groups()
        await self.media.gather()
        reader, self._writer = await asyncio.open_connection(host, int(port), ssl=context)
        self._tasks.append(asyncio.create_task(self._read(reader)))
        self._remote, self._target = f"<{target}>", target
        answer = await self._ask("INVITE", "application/sdp", self.media.description())
        if " 200 " not in answer.first:
            return tell("refused", answer.first)
        tell("answered")
        await self.media.connect(answer.body)

    async def press(self, keys):
        for key in keys:
            await self._ask("INFO", "application/dtmf-relay", f"Signal={key}\r\nDuration=160\r\n")
            await asyncio.sleep(0.25)

    async def hang_up(self):
        await self._ask("BYE")
        await self._end()

    async def _end(self):
        await self.media.close()
        tell("ended")

    async def _read(self, reader):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await next_message(reader)
                if not message.first.startswith("SIP/2.0"):
                    await self._on_request(message)
                elif not message.first.startswith("SIP/2.0 1"):
                    self._on_answer(message)
        tell("connection lost")

    def _on_answer(self, answer):
        number, method = answer.one("cseq").split()
        if method == "INVITE":
            self._remote, is_taken = answer.one("to"), " 200 " in answer.first
            if is_taken:
                self._target = re.search(r"<(.*?)>", answer.one("contact"))[1]
                self._routes = answer.all("record-route")[::-1]
            # RFC 3261 section 17.1.1.3: a refusal's ACK belongs to the transaction of the INVITE.
            self._send("ACK", int(number), via=None if is_taken else answer.one("via"))
        if int(number) == self._cseq:
            self._answers.put_nowait(answer)

    async def _on_request(self, request):
        method = request.first.split()[0]
        if method == "ACK":
            return
        body, restarts = "", method == "INVITE" and self.media.is_restarted_by(request.body)
        if restarts:
            tell("restart")
            await self.media.gather()
        if method == "INVITE":
            body = self.media.description()
        echoed = [f"{name}:{value}" for name, value in request.lines if name.lower() in ECHOED]
        self._write(["SIP/2.0 200 OK", *echoed, self._contact()], "application/sdp" if body else "", body)
        if restarts:
            self._tasks.append(asyncio.create_task(self.media.connect(request.body)))
        if method == "BYE":
            await self._end()

    async def _ask(self, method, kind="", body=""):
        self._cseq += 1
        self._send(method, self._cseq, kind, body)
        answer = await self._answers.get()
        while answer.one("cseq") != f"{self._cseq} {method}":
            answer = await self._answers.get()
        return answer

    def _send(self, method, cseq, kind="", body="", via=None):
        via = via or f"SIP/2.0/TLS {self.wanted['address']}:5081;rport;branch=z9hG4bK{secrets.token_hex(8)}"
        lines = [f"{method} {self._target} SIP/2.0", f"Via: {via}", "Max-Forwards: 70", f"Call-ID: {self._call_id}"]
        lines += [f"From: {self._local}", f"To: {self._remote}", f"CSeq: {cseq} {method}", self._contact()]
        self._write(lines + [f"Route: {route}" for route in self._routes], kind, body)

    def _contact(self):
        return f"Contact: <sip:{self.wanted['user']}@{self.wanted['address']}:5081;transport=tls>"

    def _write(self, lines, kind, body):
        if kind:
            lines = [*lines, f"Content-Type: {kind}"]
        lines = [*lines, f"Content-Length: {len(body)}", "", body]
        self._writer.write("\r\n".join(lines).encode())


ECHOED = ("via", "from", "to", "call-id", "cseq", "record-route")

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
asyncio.run(Phone(json.loads(sys.argv[1])).run())
