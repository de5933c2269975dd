"""STUN and TURN from the RFCs' text with the standard library alone: what the tests send when no client would.

Messages are lists of attributes, so that duplicates, wrong orders and broken values can be written down as they are.
Nothing here shares code with the server under test.
"""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import ipaddress
import os
import select
import socket
import ssl
import struct
import time

COOKIE = 0x2112A442

BINDING, ALLOCATE, REFRESH, SEND, DATA = 1, 3, 4, 6, 7
CREATE_PERMISSION, CHANNEL_BIND, CONNECT, CONNECTION_BIND, CONNECTION_ATTEMPT = 8, 9, 10, 11, 12
REQUEST, INDICATION, SUCCESS, ERROR = 0, 1, 2, 3

MAPPED_ADDRESS, CHANGE_REQUEST, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE = 0x01, 0x03, 0x06, 0x08, 0x09
UNKNOWN_ATTRIBUTES, CHANNEL_NUMBER, LIFETIME, XOR_PEER_ADDRESS, DATA_ATTRIBUTE = 0x0A, 0x0C, 0x0D, 0x12, 0x13
REALM, NONCE, XOR_RELAYED_ADDRESS, REQUESTED_FAMILY, EVEN_PORT = 0x14, 0x15, 0x16, 0x17, 0x18
REQUESTED_TRANSPORT, DONT_FRAGMENT, MESSAGE_INTEGRITY_SHA256, PASSWORD_ALGORITHM = 0x19, 0x1A, 0x1C, 0x1D
USERHASH, XOR_MAPPED_ADDRESS, RESERVATION_TOKEN, PADDING, RESPONSE_PORT = 0x1E, 0x20, 0x22, 0x26, 0x27
CONNECTION_ID, ADDITIONAL_FAMILY, ADDRESS_ERROR_CODE, PASSWORD_ALGORITHMS = 0x2A, 0x8000, 0x8001, 0x8002
ALTERNATE_DOMAIN, ICMP, SOFTWARE, ALTERNATE_SERVER = 0x8003, 0x8004, 0x8022, 0x8023
FINGERPRINT, RESPONSE_ORIGIN, OTHER_ADDRESS, MOBILITY_TICKET = 0x8028, 0x802B, 0x802C, 0x8030

IPV4, IPV6 = bytes([1, 0, 0, 0]), bytes([2, 0, 0, 0])
UDP_TRANSPORT, TCP_TRANSPORT = bytes([17, 0, 0, 0]), bytes([6, 0, 0, 0])


def _padded(value):
    return value + bytes(-len(value) % 4)


def message_type(method, kind):
    return (method & 0xF80) << 2 | (method & 0x70) << 1 | method & 0x0F | (kind & 2) << 7 | (kind & 1) << 4


@dataclasses.dataclass
class Message:
    method: int
    kind: int = REQUEST
    attributes: list = dataclasses.field(default_factory=list)
    transaction: bytes = dataclasses.field(default_factory=lambda: os.urandom(12))
    raw: bytes = b""

    def first(self, kind):
        return next((value for name, value in self.attributes if name == kind), None)

    def kinds(self):
        return [name for name, _ in self.attributes]

    def encode(self, key=None, sha256_key=None, fingerprint=False):
        """The message's bytes; keys append the integrity attributes, over what stands before them."""
        body = b""
        for name, value in self.attributes:
            body += struct.pack("!HH", name, len(value)) + _padded(value)
        if key is not None:
            mac = hmac.new(key, self._header(len(body) + 24) + body, hashlib.sha1).digest()
            body += struct.pack("!HH", MESSAGE_INTEGRITY, 20) + mac
        if sha256_key is not None:
            mac = hmac.new(sha256_key, self._header(len(body) + 36) + body, hashlib.sha256).digest()
            body += struct.pack("!HH", MESSAGE_INTEGRITY_SHA256, 32) + mac
        if fingerprint:
            crc = binascii.crc32(self._header(len(body) + 8) + body) ^ 0x5354554E
            body += struct.pack("!HHI", FINGERPRINT, 4, crc)
        return self._header(len(body)) + body

    def _header(self, length):
        return struct.pack("!HHI", message_type(self.method, self.kind), length, COOKIE) + self.transaction

    @property
    def error(self):
        """Error code of an error answer, else None."""
        value = self.first(ERROR_CODE)
        return None if value is None else value[2] * 100 + value[3]

    def address(self, kind, nth=0):
        """An XOR'ed address attribute as (host, port)."""
        values = [value for name, value in self.attributes if name == kind]
        if len(values) <= nth:
            return None
        return unxor(values[nth], self.transaction)

    def lifetime(self):
        value = self.first(LIFETIME)
        return None if value is None else struct.unpack("!I", value)[0]

    def integrity_holds(self, key):
        """Whether MESSAGE-INTEGRITY is there and right."""
        offset = 20
        while offset + 4 <= len(self.raw):
            name, length = struct.unpack_from("!HH", self.raw, offset)
            if name == MESSAGE_INTEGRITY:
                covered = self.raw[:2] + struct.pack("!H", offset + 4) + self.raw[4:offset]
                return hmac.new(key, covered, hashlib.sha1).digest() == self.raw[offset + 4 : offset + 24]
            offset += 4 + length + -length % 4
        return False


def decode(data):
    """The STUN message in `data`, or None."""
    if len(data) < 20 or data[0] & 0xC0:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if cookie != COOKIE or length % 4 or len(data) < 20 + length:
        return None
    message = Message(
        method=(kind & 0x3E00) >> 2 | (kind & 0xE0) >> 1 | kind & 0x0F,
        kind=(kind & 0x100) >> 7 | (kind & 0x10) >> 4,
        transaction=data[8:20],
        raw=data[: 20 + length],
    )
    offset = 20
    while offset + 4 <= 20 + length:
        name, size = struct.unpack_from("!HH", data, offset)
        message.attributes.append((name, data[offset + 4 : offset + 4 + size]))
        offset += 4 + size + -size % 4
    return message


def xor(host, port, transaction):
    address = ipaddress.ip_address(host).packed
    mask = struct.pack("!I", COOKIE) + transaction
    family = 1 if len(address) == 4 else 2
    return struct.pack("!BBH", 0, family, port ^ (COOKIE >> 16)) + bytes(a ^ b for a, b in zip(address, mask))


def unxor(value, transaction):
    mask = struct.pack("!I", COOKIE) + transaction
    port = struct.unpack_from("!H", value, 2)[0] ^ (COOKIE >> 16)
    packed = bytes(a ^ b for a, b in zip(value[4:], mask))
    return str(ipaddress.ip_address(packed)), port


def plain_address(host, port):
    """MAPPED-ADDRESS, ALTERNATE-SERVER and the other attributes that are not XOR'ed."""
    address = ipaddress.ip_address(host).packed
    return struct.pack("!BBH", 0, 1 if len(address) == 4 else 2, port) + address


def unplain(value):
    return str(ipaddress.ip_address(value[4:])), struct.unpack_from("!H", value, 2)[0]


def long_term_key(username, realm, password):
    return hashlib.md5(f"{username}:{realm}:{password}".encode()).digest()


def channel_data(number, payload, pad=False):
    data = struct.pack("!HH", number, len(payload)) + payload
    return _padded(data) if pad else data


def classic_token(secret, identity="alice", ttl=3600):
    """Username and password as coturn's `use-auth-secret` and many token services make them."""
    username = str(int(time.time()) + ttl) + (f":{identity}" if identity is not None else "")
    password = base64.b64encode(hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()).decode()
    return username, password


class Closed(Exception):
    """The server closed the stream."""


class Wire:
    """One 5-tuple to the server: a socket and, for streams, the framing. Frames are STUN messages or ChannelData."""

    def __init__(self, host, server, transport="udp", bind=None, tls=None, timeout=5.0):
        """`host` is a namespace; `server` is (address, port); `bind` is a local address or (address, port)."""
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.transport, self.server, self.timeout = transport, server, timeout
        self.socket = host.socket(family, kind)
        self.socket.settimeout(timeout)
        if bind is not None:
            self.socket.bind(bind if isinstance(bind, tuple) else (bind, 0))
        self.socket.connect(server)
        if transport == "tls":
            context = tls or insecure_tls()
            self.socket = context.wrap_socket(self.socket, server_hostname="edge.example.test")
        self._pending = b""

    @property
    def local(self):
        return self.socket.getsockname()[:2]

    def send(self, data):
        self.socket.sendall(data) if self.transport != "udp" else self.socket.send(data)

    def receive(self, timeout=None):
        """The next frame, or None when none came in time. A closed stream raises `Closed`."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if self.transport != "udp" and (frame := self._frame()) is not None:
                return frame
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, ssl.SSLWantReadError):
                return None
            except ConnectionRefusedError:
                continue
            except (ConnectionResetError, ssl.SSLError) as error:
                raise Closed(str(error)) from error
            finally:
                self.socket.settimeout(self.timeout)
            if self.transport == "udp":
                return data
            if not data:
                raise Closed("end of stream")
            self._pending += data

    def _frame(self):
        if len(self._pending) < 4:
            return None
        kind, length = struct.unpack_from("!HH", self._pending)
        size = 4 + length + -length % 4 if kind & 0xC000 else 20 + length
        if len(self._pending) < size:
            return None
        frame, self._pending = self._pending[:size], self._pending[size:]
        return frame[: 4 + length] if kind & 0xC000 else frame

    def take_rest(self):
        """Bytes of the stream that no frame claimed yet: the start of what follows a ConnectionBind."""
        rest, self._pending = self._pending, b""
        return rest

    def drain(self, quiet=0.2):
        """Every frame until none came for `quiet` seconds."""
        frames = []
        while (frame := self.receive(quiet)) is not None:
            frames.append(frame)
        return frames

    def ask(self, data, transaction, timeout=None):
        """Sends a request until its answer comes (RFC 8489 section 6.2.1 over UDP); other frames are put aside."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        wait = 0.5 if self.transport == "udp" else self.timeout
        self.aside = []
        while time.monotonic() < deadline:
            self.send(data)
            again = min(time.monotonic() + wait, deadline)
            while (left := again - time.monotonic()) > 0:
                frame = self.receive(left)
                if frame is None:
                    break
                answer = decode(frame)
                if answer is not None and answer.transaction == transaction and answer.kind in (SUCCESS, ERROR):
                    return answer
                self.aside.append(frame)
            wait *= 2
        return None

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def insecure_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TurnClient:
    """A TURN client that does what it is told and hides nothing: every answer comes back as a `Message`."""

    def __init__(self, wire, username, password, realm=None, nonce=None):
        self.wire, self.username, self.password = wire, username, password
        self.realm, self.nonce = realm, nonce

    @property
    def key(self):
        return long_term_key(self.username, self.realm, self.password)

    def challenge(self, method=ALLOCATE, attributes=((REQUESTED_TRANSPORT, UDP_TRANSPORT),)):
        """Learns realm and nonce from the 401 to the request without credentials."""
        message = Message(method, attributes=list(attributes))
        answer = self.wire.ask(message.encode(), message.transaction)
        assert answer is not None and answer.error == 401, f"no 401 but {answer}"
        self.take_challenge(answer)
        return answer

    def take_challenge(self, answer):
        self.realm, self.nonce = answer.first(REALM).decode(), answer.first(NONCE)

    def signed(self, method, attributes, transaction=None, username=None):
        """Bytes and transaction id of an authenticated request."""
        message = Message(method, attributes=list(attributes))
        if transaction is not None:
            message.transaction = transaction
        message.attributes += [
            (USERNAME, (username or self.username).encode()),
            (REALM, self.realm.encode()),
            (NONCE, self.nonce),
        ]
        return message.encode(key=self.key), message.transaction

    def request(self, method, attributes=(), transaction=None, timeout=None):
        """An authenticated request; a 438 is followed once, as every client does. None: no answer came."""
        if self.nonce is None:
            self.challenge(method, attributes)
        for _ in range(2):
            data, transaction_sent = self.signed(method, attributes, transaction)
            answer = self.wire.ask(data, transaction_sent, timeout)
            if answer is None or answer.error != 438:
                return answer
            self.take_challenge(answer)
        return answer

    def allocate(self, *attributes, transport=UDP_TRANSPORT, lifetime=None):
        """The answer; on success `self.relay` is the relayed address."""
        asked = [(REQUESTED_TRANSPORT, transport), *attributes]
        if lifetime is not None:
            asked.append((LIFETIME, struct.pack("!I", lifetime)))
        answer = self.request(ALLOCATE, asked)
        if answer is not None and answer.kind == SUCCESS:
            self.relay = answer.address(XOR_RELAYED_ADDRESS)
            self.mapped = answer.address(XOR_MAPPED_ADDRESS)
        return answer

    def refresh(self, lifetime=None, *attributes):
        asked = list(attributes)
        if lifetime is not None:
            asked.append((LIFETIME, struct.pack("!I", lifetime)))
        return self.request(REFRESH, asked)

    def permit(self, *peers):
        transaction = os.urandom(12)
        return self.request(
            CREATE_PERMISSION, [(XOR_PEER_ADDRESS, xor(host, 0, transaction)) for host in peers], transaction
        )

    def bind(self, number, peer):
        transaction = os.urandom(12)
        asked = [(CHANNEL_NUMBER, struct.pack("!HH", number, 0)), (XOR_PEER_ADDRESS, xor(*peer, transaction))]
        return self.request(CHANNEL_BIND, asked, transaction)

    def connect(self, peer, timeout=None):
        transaction = os.urandom(12)
        return self.request(CONNECT, [(XOR_PEER_ADDRESS, xor(*peer, transaction))], transaction, timeout)

    def send(self, peer, payload, *attributes):
        message = Message(SEND, INDICATION)
        message.attributes = [(XOR_PEER_ADDRESS, xor(*peer, message.transaction)), *attributes]
        message.attributes.append((DATA_ATTRIBUTE, payload))
        self.wire.send(message.encode())

    def send_channel(self, number, payload):
        self.wire.send(channel_data(number, payload, pad=self.wire.transport != "udp"))

    def receive(self, timeout=None):
        """The next relayed datagram as (where from, payload): a channel number or a peer's (address, port)."""
        deadline = time.monotonic() + (self.wire.timeout if timeout is None else timeout)
        while (left := deadline - time.monotonic()) > 0:
            frame = self.wire.receive(left)
            if frame is None:
                return None
            if frame[0] & 0xC0 == 0x40:
                number, length = struct.unpack_from("!HH", frame)
                return number, frame[4 : 4 + length]
            message = decode(frame)
            if message is not None and (message.method, message.kind) == (DATA, INDICATION):
                if message.first(DATA_ATTRIBUTE) is not None:
                    return message.address(XOR_PEER_ADDRESS), message.first(DATA_ATTRIBUTE)
        return None


def binding(wire, *attributes, timeout=None):
    message = Message(BINDING, attributes=list(attributes))
    return wire.ask(message.encode(), message.transaction, timeout)


def readable(sockets, timeout):
    return select.select(sockets, [], [], timeout)[0]
