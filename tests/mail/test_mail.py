"""Mail to owners of mailboxes, by the binary and a mail server that fails and recovers: nothing is lost, nothing leaves
unprotected, and no caller writes a header."""

import contextlib
import email
import email.policy
import json
import os
import pathlib
import socket
import sqlite3
import struct
import subprocess
import time
import urllib.request
import zlib

import pytest

from certificates import Authority
from edge_process import await_that

HERE = pathlib.Path(__file__).parent
# The Debian package of the server belongs to this one.
PYTHON = "/usr/bin/python3"

CONFIGURATION = """
[um]
startup_mode = "tcp"
tcp = ["127.0.0.1:{um}"]
runtime_directory = "run"
metrics = "127.0.0.1:{metrics}"
[worker]
startup_mode = "tcp"
addresses = ["127.0.0.1"]
slots = [{slot_a}, {slot_b}]
rtp_ports = "{rtp}"
metrics = ["127.0.0.1:{metrics_a}", "127.0.0.1:{metrics_b}"]
[mailbox]
[[gateway]]
address = "127.0.0.1"
dial_plan = "office"
[[dial_plan]]
name = "office"
digits = 4
pilots = ["7000"]
time_zone = "Europe/Berlin"
[mail]
smtp = "smtp://localhost:{smtp}"
from = "voicemail@pbx.example.test"
username = "postern"
password_file = "mail.password"
ca = "ca.pem"
[telemetry]
log = "debug"
"""

RATE = 8000
WAIT_SECS = 60


def free_ports(count):
    """Ports that nobody holds now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Server:
    """The mail server, which can be ended and started again."""

    def __init__(self, directory, authority, port):
        self.directory = directory
        self.port = port
        for name in ("taken", "lost"):
            (directory / name).mkdir(parents=True)
        for made, name in zip(authority.issue("mailserver", ["localhost", "127.0.0.1"]), ("server.pem", "server.key")):
            (directory / name).write_bytes(made.read_bytes())
        self.order()
        self.process = None

    def order(self, **orders):
        half = self.directory / "orders.part"
        half.write_text(json.dumps(orders))
        half.rename(self.directory / "orders")

    def start(self):
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(
            [PYTHON, HERE / "smtp_server.py", self.directory, str(self.port)], stdout=log, stderr=log
        )
        log.close()

        def answers():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True

        await_that(answers, WAIT_SECS, "the mail server")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def mails(self, where="taken"):
        paths = sorted((self.directory / where).glob("*.eml"))
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]

    def await_mail(self, count=1, where="taken"):
        await_that(lambda: len(self.mails(where)) >= count, WAIT_SECS, f"{count} mails in {where}")
        mails = self.mails(where)
        assert len(mails) == count
        return mails

    def forget(self):
        for path in (*self.directory.glob("taken/*"), *self.directory.glob("lost/*")):
            path.unlink()


class Office:
    """A UM service with a mailbox, in a directory of its own."""

    def __init__(self, binary, directory, authority):
        self.binary, self.directory = binary, directory
        names = ("um", "metrics", "slot_a", "slot_b", "metrics_a", "metrics_b", "smtp")
        ports = dict(zip(names, free_ports(len(names))))
        self.metrics_port = ports["metrics"]
        self.file = directory / "postern.toml"
        self.file.write_text(CONFIGURATION.format(rtp="42000-42099", **ports))
        (directory / "ca.pem").write_bytes(authority.certificate.read_bytes())
        password = directory / "mail.password"
        password.write_text("correct horse\n")
        password.chmod(0o600)
        self.server = Server(directory / "server", authority, ports["smtp"])
        self.process = None

    def postern(self, *arguments):
        command = [self.binary, *arguments, "--config", self.file]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        with open(self.directory / "um.log", "ab") as log:
            self.process = subprocess.Popen([self.binary, "um", "--config", self.file], stdout=log, stderr=log)
        await_that(lambda: self.metric("postern_um_letters", 'state="queued"') is not None, WAIT_SECS, "the UM service")

    def log(self):
        return (self.directory / "um.log").read_text(errors="replace")

    def metric(self, name, labels=""):
        """The value of a metric; none while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None
        full = f"{name}{{{labels}}}" if labels else name
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(full + " ")), None)

    def letters(self):
        return json.loads(self.postern("mail", "list", "--json"))

    def await_error(self, text):
        """The one letter that waits, once an attempt failed so."""

        def failed():
            return [one for one in self.letters() if text in (one["last_error"] or "")]

        await_that(failed, WAIT_SECS, f"a letter that failed with {text!r}")
        [letter] = failed()
        return letter

    def leave_message(self, name="Bob Okafor", seconds=2):
        """As a worker leaves it that died: the next program that opens the store makes it a message."""
        now = time.time_ns() // 1_000_000
        identity = (now << 80 | int.from_bytes(os.urandom(10))).to_bytes(16)
        samples = [(at * 7919 % 30011) - 15000 for at in range(RATE * seconds)]
        (self.directory / "recordings" / f"{written(identity)}.pvm").write_bytes(recording(now, samples))
        with contextlib.closing(sqlite3.connect(self.directory / "postern.db", timeout=30)) as database, database:
            [mailbox] = database.execute("SELECT id FROM mailboxes").fetchone()
            database.execute(
                "INSERT INTO recordings (id, mailbox, purpose, caller_address, caller_name, begun) VALUES (?, ?, ?, ?, ?, ?)",
                (identity, mailbox, "deposit", "+15551234567", name, now),
            )
        self.postern("mailbox", "list")
        return written(identity)

    def exported(self, message, directory):
        self.postern("mailbox", "export", "1001", "--to", directory)
        [path] = directory.glob(f"*{message}.wav")
        return path.read_bytes()

    def retry(self):
        return self.postern("mail", "retry", "--all")

    def clear(self):
        self.server.order()
        for letter in self.letters():
            self.postern("mail", "remove", letter["id"])
        self.server.forget()


def written(identity):
    """An id as its 26 characters."""
    number = int.from_bytes(identity)
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * place & 31] for place in reversed(range(26)))


def recording(begun_ms, samples):
    """The file of a recording, as src/store/frames.rs describes it."""
    head = struct.pack("<4sIQ", b"PVM1", RATE, begun_ms)
    pieces = [head, struct.pack("<I", zlib.crc32(head))]
    for at in range(0, len(samples), RATE):
        body = struct.pack(f"<{len(samples[at:at + RATE])}h", *samples[at : at + RATE])
        count = len(body) // 2
        pieces += [struct.pack("<II", count, zlib.crc32(struct.pack("<QI", at, count) + body)), body]
    return b"".join(pieces)


@pytest.fixture(scope="module")
def office(binary, tmp_path_factory):
    found = subprocess.run([PYTHON, "-c", "import aiosmtpd"], capture_output=True, check=False)
    if found.returncode != 0:
        pytest.skip("the mail server is not installed: apt-get install python3-aiosmtpd")
    directory = tmp_path_factory.mktemp("mail")
    office = Office(binary, directory, Authority(directory / "authority"))
    office.postern("mailbox", "add", "1001", "--name", "Alice Ng", "--mail", "alice@example.test", "--missed-calls")
    office.server.start()
    try:
        office.start()
        yield office
    finally:
        if office.process:
            office.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                office.process.wait(20)
            office.process.kill()
        office.server.stop()
    assert "panicked" not in office.log()


@pytest.fixture(autouse=True)
def quiet(office):
    yield
    office.clear()


def test_a_message_arrives_with_the_audio_that_is_exported(office, tmp_path):
    message = office.leave_message()
    [mail] = office.server.await_mail()
    assert mail["Subject"].startswith("Voice message from Bob Okafor (+15551234567)")
    assert mail["From"] == mail["X-Mail-From"] == "voicemail@pbx.example.test"
    assert mail["X-Rcpt-To"] == "alice@example.test" and mail["Auto-Submitted"] == "auto-generated"
    [attached] = mail.iter_attachments()
    assert attached.get_content_type() == "audio/wav" and attached.get_filename().endswith("Z.wav")
    assert attached.get_content() == office.exported(message, tmp_path)
    assert office.letters() == []
    assert office.metric("postern_um_letter_attempts_total", 'kind="message",result="sent"') >= 1


def test_a_caller_writes_no_header_and_no_part(office):
    office.leave_message("Bob\r\nBcc: eve@example.test\r\n\r\n<b>\u202eevil\u2028", seconds=1)
    [mail] = office.server.await_mail()
    assert mail["Bcc"] is None and mail["X-Rcpt-To"] == "alice@example.test"
    assert len(mail.get_all("Subject")) == 1 and "\u202e" not in mail["Subject"] and "\n" not in mail["Subject"]
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/mixed", "text/plain", "audio/wav"]


def test_a_letter_that_is_not_taken_for_now_waits_and_arrives_once(office):
    office.server.order(rcpt="451 greylisted")
    office.leave_message()
    letter = office.await_error("451")
    assert letter["state"] == "queued" and letter["attempts"] == 1
    await_that(lambda: office.metric("postern_um_letters", 'state="queued"') == 1, WAIT_SECS, "the queue's depth")
    await_that(lambda: office.metric("postern_um_letter_age_seconds") >= 1, WAIT_SECS, "the oldest letter's age")
    office.server.order()
    assert "1 mail" in office.retry()
    office.server.await_mail()
    await_that(lambda: office.metric("postern_um_letters", 'state="queued"') == 0, WAIT_SECS, "an empty queue")
    assert office.metric("postern_um_letter_age_seconds") == 0


def test_a_server_that_is_down_only_delays(office):
    office.server.stop()
    office.leave_message()
    office.await_error("cannot be reached")
    office.server.start()
    office.retry()
    office.server.await_mail()
    assert office.letters() == []


def test_a_letter_whose_answer_was_lost_comes_again_under_its_name(office):
    office.server.order(drop=True)
    office.leave_message()
    [lost] = office.server.await_mail(where="lost")
    await_that(lambda: office.letters()[0]["last_error"], WAIT_SECS, "the loss")
    office.server.order()
    office.retry()
    [taken] = office.server.await_mail()
    assert taken["Message-ID"] == lost["Message-ID"] and taken.as_bytes() == lost.as_bytes()


def test_a_refused_letter_lies_among_the_dead_until_it_is_retried(office, tmp_path):
    office.server.order(data="550 no such user")
    message = office.leave_message()
    await_that(lambda: any(one["state"] == "dead" for one in office.letters()), WAIT_SECS, "a dead letter")
    [letter] = office.letters()
    assert "550" in letter["last_error"] and letter["message"] == message
    file = pathlib.Path(letter["file"])
    assert file.parent == office.directory / "mail" / "dead" and file.stat().st_mode & 0o777 == 0o600
    dead = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    [attached] = dead.iter_attachments()
    assert attached.get_content() == office.exported(message, tmp_path)
    assert letter["id"] in office.postern("mail", "list")
    await_that(lambda: office.metric("postern_um_letters", 'state="dead"') == 1, WAIT_SECS, "the metric of dead letters")
    office.server.order()
    assert "1 mail" in office.postern("mail", "retry", letter["id"])
    office.server.await_mail()
    assert office.letters() == [] and not file.exists()


def test_a_letter_that_waits_survives_the_death_of_its_sender(office):
    office.server.order(rcpt="451 later")
    office.leave_message()
    office.await_error("451")
    office.process.kill()
    office.process.wait()
    office.server.order()
    office.start()
    office.retry()
    office.server.await_mail()
    assert office.letters() == []


def test_the_password_and_the_owners_address_are_in_no_log(office):
    log = office.log()
    assert "mail was taken" in log
    assert "correct horse" not in log and "alice@example.test" not in log
