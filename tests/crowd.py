"""Datagrams from as many sources as asked for, all of them owned by the lab's `crowd` host."""

import ipaddress
import socket
import struct

from natlab import Addresses
from stun import Wire

IP_PKTINFO, IPV6_PKTINFO = 8, 50
IP_FREEBIND, IPV6_FREEBIND = 15, 78


class Crowd:
    """One socket that sends from any address of CROWD_NET (or, of CROWD_NET_6, one address per /64)."""

    def __init__(self, lab, family=4):
        self.family, self._host = family, lab.host("crowd")
        if family == 4:
            self.socket = self._host.socket(socket.AF_INET)
            self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            self.base = int(ipaddress.ip_network(Addresses.CROWD_NET).network_address) + 1
            self.to = Addresses.EDGE
        else:
            self.socket = self._host.socket(socket.AF_INET6)
            self.socket.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            self.base = int(ipaddress.ip_network(Addresses.CROWD_NET_6).network_address) + 1
            self.to = Addresses.EDGE_6
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def address(self, number):
        if self.family == 4:
            return str(ipaddress.IPv4Address(self.base + number))
        return str(ipaddress.IPv6Address(self.base + (number << 64)))

    def send(self, number, data, port=3478):
        """Sends from source `number` to the edge."""
        source = self.address(number)
        if self.family == 4:
            control = struct.pack("=I4s4s", 0, socket.inet_aton(source), bytes(4))
            ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, control)]
        else:
            control = socket.inet_pton(socket.AF_INET6, source) + struct.pack("=I", 0)
            ancillary = [(socket.IPPROTO_IPV6, IPV6_PKTINFO, control)]
        self.socket.sendmsg([data], ancillary, 0, (self.to, port))

    def connect(self, number, transport):
        """A TCP or TLS connection of source `number` to the edge."""
        port = 443 if transport == "tls" else 3478
        return Wire(_FreeBinding(self._host), (self.to, port), transport, bind=self.address(number))

    def received(self, timeout=0.3):
        """Everything that came back until it is quiet."""
        self.socket.settimeout(timeout)
        answers = []
        try:
            while True:
                answers.append(self.socket.recv(65536))
        except TimeoutError:
            return answers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class _FreeBinding:
    """A host whose sockets bind to any address that is routed to it."""

    def __init__(self, host):
        self._host = host

    def socket(self, family, kind):
        made = self._host.socket(family, kind)
        if family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        return made
