"""The lab with a network inside: phones and a gateway beside the workers, a second edge, a router at the perimeter.

    a-KIND -- router(s) --+                    +-- inside (UM service, workers)
                          +-- internet --+-- edge, edge-second --+-- router, phone, phone-second, gateway, stranger
    peer -----------------+              +-- gate ---------------+

What is outside reaches the edges, and of the gate two TCP ports: nothing forwards packets between the two networks.
"""

from .namespace import Namespace
from .topology import Addresses, Lab

GATE_PORTS = (443, 5061)

# Replies to what the gate itself asks come in, and calls by TLS. From inside everything does.
_GATE = f"""
table inet guard {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname {{ "lo", "in" }} accept
        ct state established,related accept
        meta l4proto {{ icmp, icmpv6 }} accept
        iifname "eth0" tcp dport {{ {", ".join(map(str, GATE_PORTS))} }} accept
    }}
}}
"""


class OfficeAddresses(Addresses):
    """The lab's addresses and those of the network inside."""

    ROUTER = "10.20.0.21"
    GATE = "203.0.113.40"
    GATE_INSIDE = "10.20.0.22"
    EDGE_SECOND = "203.0.113.13"
    EDGE_SECOND_INSIDE = "10.20.0.11"
    PHONE = "10.20.0.30"
    PHONE_SECOND = "10.20.0.31"
    GATEWAY = "10.20.0.40"
    STRANGER = "10.20.0.66"  # inside, and no gateway
    NOWHERE = "10.20.0.254"


class Office(Lab):
    """A lab whose inside is a network of its own."""

    def _build_inside(self):
        a = OfficeAddresses
        floor = self.host("floor").create()
        floor.batch("link add lan address 02:00:00:00:00:02 type bridge mcast_snooping 0", "link set lan up")
        self._on_floor(self.host("edge"), [a.EDGE_INSIDE, a.EDGE_INSIDE_6], "in")
        self._on_floor(self._on_segment("edge-second", [a.EDGE_SECOND]), [a.EDGE_SECOND_INSIDE], "in")
        gate = self._on_segment("gate", [a.GATE])
        gate.nft(_GATE)
        self._on_floor(gate, [a.GATE_INSIDE], "in")
        for name, addresses in {
            "inside": [a.INSIDE, a.INSIDE_6],
            "router": [a.ROUTER],
            "phone": [a.PHONE],
            "phone-second": [a.PHONE_SECOND],
            "gateway": [a.GATEWAY],
            "stranger": [a.STRANGER],
        }.items():
            host = self.host(name).create()
            self._on_floor(host, addresses, "eth0")
            if name in ("phone", "phone-second"):
                # It leads nowhere; phones learn their own address from having one.
                host.batch(f"route add default via {a.NOWHERE}")
        # Not routers: the workers reach the edges' own addresses, nothing beyond.
        self.host("inside").batch(
            f"route add {a.EDGE}/32 via {a.EDGE_INSIDE}",
            f"route add {a.EDGE_SECOND}/32 via {a.EDGE_SECOND_INSIDE}",
            f"route add {a.EDGE_6}/128 via {a.EDGE_INSIDE_6}",
        )

    def _on_floor(self, host, addresses, interface):
        floor = self.host("floor")
        port = f"to-{host.name[len(self.prefix):]}"
        host.wire(interface, floor, port)
        floor.batch(f"link set {port} master lan", f"link set {port} up")
        host.batch(
            *(f"addr add {each}/{'64' if ':' in each else '24'} dev {interface}{' nodad' if ':' in each else ''}" for each in addresses),
            f"link set {interface} up",
        )

    def address_of(self, side, kind):
        """The address that an endpoint behind a NAT of this kind knows itself by."""
        shown = self.endpoint(side, kind).run("ip", "-4", "-o", "addr", "show", "dev", "eth0", "scope", "global").stdout
        return shown.split()[3].partition("/")[0]

    def direct_udp_blocked(self, side, kind):
        """An endpoint behind a NAT of this kind whose network lets UDP out to TURN and DNS alone, during a `with`."""
        return self._blocked(side, kind, "udp dport != { 53, 3478 }")

    def udp_blocked(self, side, kind):
        """An endpoint behind a NAT of this kind whose network lets no UDP out, while a `with` lasts."""
        return self._blocked(side, kind, "meta l4proto udp")

    def _blocked(self, side, kind, what):
        host = self.endpoint(side, kind)
        router = self.host(f"{side}-{kind}-home")
        if not router.exists():
            router = self.host(f"{side}-{kind}-nat")
        return _Blocked(host, router, what)


class _Blocked:
    """The block, for as long as a `with` lasts."""

    _RULES = """
table inet block {{
    chain forward {{
        type filter hook forward priority filter - 1; policy accept;
        iifname "in" {what} drop
    }}
}}
"""

    def __init__(self, host, router, what):
        self.host, self._router, self._what = host, router, what

    def __enter__(self) -> Namespace:
        self._router.nft(self._RULES.format(what=self._what))
        return self.host

    def __exit__(self, *_):
        self._router.run("nft", "delete", "table", "inet", "block")
