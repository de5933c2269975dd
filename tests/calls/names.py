"""A DNS server for a host of the lab: it knows the IPv4 addresses of a table and nothing else."""

import contextlib
import os
import socket
import struct
import threading

_A, _IN = 1, 1


class Names:
    """Answers on `address`, port 53, until closed. Names that are not in the table do not exist."""

    def __init__(self, host, address, table):
        self._table = {name.lower(): socket.inet_aton(each) for name, each in table.items()}
        self._socket = host.socket()
        self._socket.bind((address, 53))
        self._socket.settimeout(0.2)
        self._is_open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._is_open = False
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while self._is_open:
            with contextlib.suppress(TimeoutError, IndexError, struct.error, UnicodeDecodeError):
                question, client = self._socket.recvfrom(2000)
                self._socket.sendto(self._answer(question), client)

    def _answer(self, question):
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        end = at + 5
        kind = struct.unpack_from("!H", question, at + 1)[0]
        address = self._table.get(".".join(labels).lower())
        code = 0 if address else 3
        record = b""
        if address and kind == _A:
            record = b"\xc0\x0c" + struct.pack("!HHIH", _A, _IN, 60, 4) + address
        head = question[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, 1 if record else 0, 0, 0)
        return head + question[12:end] + record


def with_names(directory, server, command):
    """`command` with its own resolv.conf that names `server`, in a mount namespace that nobody else sees."""
    configuration = directory / "resolv.conf"
    if not os.path.exists(configuration):
        configuration.write_text(f"nameserver {server}\noptions timeout:1 attempts:2\n")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(configuration), *map(str, command)]
