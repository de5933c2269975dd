"""The lab: which host stands where.

    a-KIND -- router(s) --+                     +-- inside (the worker)
    b-KIND -- router(s) --+-- internet -- edge -+
    peer, stun, crowd ----+

`internet` is a bridge with an address, the default router of everybody on it.
"""

import os
import time

from .kinds import KINDS, one_to_one, rules
from .namespace import Namespace, ip, remove_matching

PREFIX = "pl-"


class Addresses:
    """The addresses of the lab, one place for tests and people."""

    EDGE = "203.0.113.10"
    EDGE_ALTERNATE = "203.0.113.11"  # second outside address, RFC 5780
    EDGE_6 = "2001:db8::10"
    EDGE_INSIDE = "10.20.0.10"
    EDGE_INSIDE_6 = "fd20::10"
    INSIDE = "10.20.0.20"  # the worker
    INSIDE_6 = "fd20::20"
    STUN = "203.0.113.20"  # an RFC 5780 server that is not ours
    STUN_ALTERNATE = "203.0.113.21"
    STUN_6 = "2001:db8::20"
    STUN_ALTERNATE_6 = "2001:db8::21"
    PEER = "203.0.113.30"
    PEER_SECOND = "203.0.113.31"
    PEER_6 = "2001:db8::30"
    DMZ = "10.30.0.10"  # an edge's host behind a 1:1 NAT that makes it DMZ_PUBLIC outside
    DMZ_PUBLIC = "203.0.113.12"
    CROWD = "203.0.113.66"  # owns the whole of CROWD_NET and CROWD_NET_6
    CROWD_6 = "2001:db8::66"
    CROWD_NET = "20.0.0.0/15"
    CROWD_NET_6 = "2001:db8:c::/48"


class Lab:
    """One lab. Its name keeps it apart from others on the same machine.

    Hosts of the core stand after `up`; endpoints behind NATs are built when first asked for.
    """

    CORE = ("internet", "edge", "inside", "stun", "peer", "crowd")

    def __init__(self, name):
        self.name = name
        self.prefix = f"{PREFIX}{name}-"

    def host(self, name):
        return Namespace(self.prefix + name)

    def hosts(self):
        """Names of the hosts that stand now."""
        try:
            names = os.listdir("/run/netns")
        except FileNotFoundError:
            return []
        return sorted(name[len(self.prefix) :] for name in names if name.startswith(self.prefix))

    def up(self):
        internet = self.host("internet").create()
        internet.batch(
            # An address of its own: otherwise it takes the lowest of its ports', and changes as ports are added.
            "link add segment address 02:00:00:00:00:01 type bridge mcast_snooping 0",
            "link set segment up",
            "addr add 203.0.113.1/24 dev segment",
            "addr add 2001:db8::1/64 dev segment nodad",
        )
        self._forwarding(internet)
        a = Addresses
        self._on_segment("edge", [a.EDGE, a.EDGE_ALTERNATE, a.EDGE_6])
        self._on_segment("stun", [a.STUN, a.STUN_ALTERNATE, a.STUN_6, a.STUN_ALTERNATE_6])
        self._on_segment("peer", [a.PEER, a.PEER_SECOND, a.PEER_6])
        crowd = self._on_segment("crowd", [a.CROWD, a.CROWD_6])
        crowd.batch(f"route add local {a.CROWD_NET} dev lo", f"route add local {a.CROWD_NET_6} dev lo")
        internet.batch(f"route add {a.CROWD_NET} via {a.CROWD}", f"route add {a.CROWD_NET_6} via {a.CROWD_6}")

        self._build_inside()
        return self

    def endpoint(self, side, kind):
        """The endpoint of this side (`a` or `b`) behind a NAT of this kind, built now if it does not stand."""
        host = self.host(f"{side}-{kind}")
        if not host.exists():
            self._build_endpoint(host, side, kind)
            self._await_links(side, kind)
        return host

    def dmz(self):
        """A host for an edge behind a 1:1 NAT, built now if it does not stand."""
        host = self.host("dmz")
        if not host.exists():
            host.create()
            router = self._on_segment("dmz-nat", [Addresses.DMZ_PUBLIC], interface="out")
            router.nft(one_to_one(Addresses.DMZ_PUBLIC, Addresses.DMZ))
            self._forwarding(router)
            router.wire("in", host, "eth0")
            router.batch("addr add 10.30.0.1/24 dev in", "link set in up")
            host.batch(f"addr add {Addresses.DMZ}/24 dev eth0", "link set eth0 up", "route add default via 10.30.0.1")
        return host

    def down(self):
        return remove_matching(self.prefix)

    def _build_inside(self):
        """The worker's host, by a cable to the edge."""
        a, edge, inside = Addresses, self.host("edge"), self.host("inside").create()
        edge.wire("in", inside, "eth0")
        edge.batch(
            f"addr add {a.EDGE_INSIDE}/24 dev in", f"addr add {a.EDGE_INSIDE_6}/64 dev in nodad", "link set in up"
        )
        # Not a router: the worker reaches the edge's own addresses, nothing beyond.
        inside.batch(
            f"addr add {a.INSIDE}/24 dev eth0",
            f"addr add {a.INSIDE_6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add {a.EDGE}/32 via {a.EDGE_INSIDE}",
            f"route add {a.EDGE_ALTERNATE}/32 via {a.EDGE_INSIDE}",
            f"route add {a.EDGE_6}/128 via {a.EDGE_INSIDE_6}",
        )

    def _build_endpoint(self, host, side, kind):
        number = (100 if side == "a" else 120) + list(KINDS).index(kind)
        host.create()
        if kind == "ipv6-only":
            self._behind_firewall_6(host, side, number)
            return
        public = f"203.0.113.{number}"
        outer = self._on_segment(f"{side}-{kind}-nat", [public], interface="out")
        outer.nft(rules("port-restricted" if kind == "double" else kind, public))
        self._forwarding(outer)
        if kind == "double":
            home = self.host(f"{side}-{kind}-home").create()
            self._lan(outer, home, "out", f"100.64.{number}")
            home.nft(rules("port-restricted", f"100.64.{number}.2"))
            self._forwarding(home)
            outer = home
        self._lan(outer, host, "eth0", f"192.168.{number}")

    def _await_links(self, side, kind, patience_secs=5.0):
        """Returns once the kernel sees carrier on every link of the way: a little after both ends are up."""
        deadline = time.monotonic() + patience_secs
        for name in self.hosts():
            if name.startswith(f"{side}-{kind}"):
                while " state DOWN " in ip("-n", self.prefix + name, "-o", "link", "show", "type", "veth"):
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"{name}: a link stays down")
                    time.sleep(0.005)

    def _behind_firewall_6(self, host, side, number):
        router = self._on_segment(f"{side}-ipv6-only-nat", [f"2001:db8::{number}"], interface="out")
        router.nft(rules("ipv6-only", None))
        self._forwarding(router)
        router.wire("in", host, "eth0")
        router.batch(f"addr add 2001:db8:{number}::1/64 dev in nodad", "link set in up")
        host.batch(
            f"addr add 2001:db8:{number}::2/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via 2001:db8:{number}::1",
        )
        self.host("internet").batch(f"route add 2001:db8:{number}::/64 via 2001:db8::{number}")

    def _lan(self, router, host, interface, network):
        router.wire("in", host, interface)
        router.batch(f"addr add {network}.1/24 dev in", "link set in up")
        host.batch(
            f"addr add {network}.2/24 dev {interface}",
            f"link set {interface} up",
            f"route add default via {network}.1",
        )

    def _on_segment(self, name, addresses, interface="eth0"):
        host, internet = self.host(name).create(), self.host("internet")
        port = f"p{len(ip('-n', internet.name, '-o', 'link', 'show', 'type', 'veth').splitlines())}"
        host.wire(interface, internet, port)
        internet.batch(f"link set {port} master segment", f"link set {port} up")
        lines = [
            f"addr add {address}/{'64 dev ' + interface + ' nodad' if ':' in address else '24 dev ' + interface}"
            for address in addresses
        ]
        lines += [f"link set {interface} up"]
        if any(":" in address for address in addresses):
            lines += ["route add default via 2001:db8::1"]
        if any(":" not in address for address in addresses):
            lines += ["route add default via 203.0.113.1"]
        host.batch(*lines)
        return host

    def _forwarding(self, host):
        host.sysctl("ipv4.ip_forward", 1)
        host.sysctl("ipv6.conf.all.forwarding", 1)
