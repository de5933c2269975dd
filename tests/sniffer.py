"""What really leaves or enters a host, on all its interfaces."""

import dataclasses
import socket
import struct
import time

ETH_P_ALL = 3
OUTGOING = 4


@dataclasses.dataclass
class Packet:
    interface: str
    outgoing: bool
    data: bytes  # from the IP header on

    @property
    def ip_bytes(self):
        version = self.data[0] >> 4
        return struct.unpack_from("!H", self.data, 2)[0] if version == 4 else 40 + struct.unpack_from("!H", self.data, 4)[0]


class Sniffer:
    """Records every IP packet of a host while the `with` block lasts."""

    def __init__(self, host):
        self.socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.socket.setblocking(False)
        self.packets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.read()
        self.socket.close()

    def read(self):
        """Takes in what came so far and returns all of it."""
        while True:
            try:
                data, (interface, protocol, kind, _, _) = self.socket.recvfrom(65536)
            except BlockingIOError:
                return self.packets
            if protocol in (0x0800, 0x86DD):
                self.packets.append(Packet(interface, kind == OUTGOING, data))

    def settle(self, quiet=0.1):
        """Reads until nothing new came for a while."""
        count = -1
        while count != len(self.packets):
            count = len(self.packets)
            time.sleep(quiet)
            self.read()
        return self.packets

    def holding(self, marker, outgoing=None):
        """Packets with these bytes anywhere in them."""
        return [
            packet
            for packet in self.settle()
            if marker in packet.data and (outgoing is None or packet.outgoing == outgoing)
        ]
