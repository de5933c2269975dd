"""A mail server that does as a file tells it: `python3 smtp_server.py DIRECTORY PORT`, under the system's Python.

It demands STARTTLS and a login. DIRECTORY holds server.pem and server.key; `orders` (JSON) says how it answers: `rcpt` is
its answer to RCPT, `data` its answer to the letter, `drop` ends the connection in place of that. What it took is in
`taken`, what it heard and let go in `lost`, a file each.
"""

import asyncio
import json
import pathlib
import ssl
import sys
import time

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, AuthResult

USER, PASSWORD = b"postern", b"correct horse"


class Handler:
    def __init__(self, directory):
        self.directory = directory

    def orders(self):
        return json.loads((self.directory / "orders").read_text())

    async def handle_RCPT(self, server, session, envelope, address, options):
        if answer := self.orders().get("rcpt"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, server, session, envelope):
        orders = self.orders()
        drop, answer = orders.get("drop"), orders.get("data")
        self.keep("lost" if drop or answer else "taken", envelope)
        if drop:
            server.transport.abort()
        return answer or "250 taken"

    def keep(self, where, envelope):
        path = self.directory / where / f"{time.time_ns()}.eml"
        half = path.with_suffix(".part")
        lines = [f"X-Mail-From: {envelope.mail_from}", *(f"X-Rcpt-To: {address}" for address in envelope.rcpt_tos)]
        half.write_bytes("\r\n".join(lines).encode() + b"\r\n" + envelope.content)
        half.rename(path)


class Controller(UnthreadedController):
    tls = None

    def factory(self):
        return SMTP(
            self.handler, tls_context=self.tls, require_starttls=True, auth_required=True, authenticator=authenticate
        )


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == USER and data.password == PASSWORD)


async def serve(directory, port):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "server.pem", directory / "server.key")
    controller = Controller(Handler(directory), hostname="127.0.0.1", port=port, loop=asyncio.get_running_loop())
    controller.tls = tls
    await controller._create_server()
    await asyncio.Event().wait()


asyncio.run(serve(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
