"""Those who are no gateway, and those who send media that is not theirs."""

import struct
import threading
import time

import pytest

import speech
from baresip import Baresip
from conftest import FIRST
from gateway import Gateway, Line, mu_law, refused
from natlab import OfficeAddresses

A = OfficeAddresses
RTP_PORTS = range(20000, 30000)


@pytest.mark.parametrize(
    "target", [f"{A.ROUTER}:5060", f"{A.GATE_INSIDE}:5060", f"{A.INSIDE}:5062", f"{A.INSIDE}:5065"],
    ids=["router", "proxy", "um-service", "worker"],
)
def test_an_invite_from_an_address_that_is_no_gateway_gets_403(service, office, tool, tmp_path, target):
    tool("sipp")
    stranger = Gateway(office.host("stranger"), tmp_path, A.STRANGER)
    stranger.run(refused(Line(service.mailbox(), "6666"), 403), target)


class Sprayer:
    """Sends a loud tone as PCMU to every port of media, round and round, until closed."""

    def __init__(self, host):
        self._socket, self._is_open, self.rounds = host.socket(), True, 0
        self._payload = mu_law(4 * speech.tone(0.02, 1000))
        self._thread = threading.Thread(target=self._spray, daemon=True)
        self._thread.start()

    def _spray(self):
        while self._is_open:
            header = struct.pack("!BBHII", 0x80, 0, self.rounds & 0xFFFF, self.rounds * 160 & 0xFFFFFFFF, 0x6666)
            for port in RTP_PORTS:
                self._socket.sendto(header + self._payload, (A.INSIDE, port))
            self.rounds += 1
            time.sleep(0.1)

    def close(self):
        self._is_open = False
        self._thread.join()
        self._socket.close()


def test_a_sprayer_at_every_port_adds_nothing_to_a_recording(service, office, phones, words, hear):
    number, said = service.mailbox(), words("This is my message, and nobody else has a part in it")
    sprayer = Sprayer(office.host("stranger"))
    try:
        phones(Baresip, *FIRST, "2301").leave(f"sip:{number}@{A.ROUTER}:5060;transport=tcp", said)
    finally:
        sprayer.close()
    assert sprayer.rounds >= 3
    record = service.await_record(caller="2301", called=number)
    assert "wrong_source" in record["packets_not_used"], record
    # The phone sends a packet every 20 ms.
    assert record["packets_received"] <= record["duration_secs"] / 0.02 + 5, record
    owner = hear(number, said)
    assert speech.find(owner.heard(), speech.tone(1.0, 1000)).correlation < 0.4
