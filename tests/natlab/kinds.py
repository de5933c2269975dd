"""The kinds of NAT, each as nftables rules for a router whose inner side is `in` and whose outer side is `out`.

Linux by itself keeps one mapping per inner address and port for as long as no other flow claims it, and lets in only
what answers an outgoing flow: mapping endpoint-independent, filtering by address and port. The other kinds are made
from that: learned maps widen the filter, `fully-random` breaks the mapping up. `test_kinds.py` proves each of them.
"""

import dataclasses

# What RFC 5780 calls the two behaviours.
ENDPOINT = "Endpoint Independent"
ADDRESS = "Address Dependent"
ADDRESS_PORT = "Address and Port Dependent"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of NAT and what an RFC 5780 client must find behind it (None: UDP does not get out)."""

    name: str
    mapping: str | None
    filtering: str | None
    says: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("endpoint-independent", ENDPOINT, ENDPOINT, "anyone may send to a mapped port"),
        Kind("address-restricted", ENDPOINT, ADDRESS, "hosts that were sent to may answer from any port"),
        Kind("port-restricted", ENDPOINT, ADDRESS_PORT, "only addresses and ports that were sent to may answer"),
        Kind("symmetric", ADDRESS_PORT, ADDRESS_PORT, "another random port towards each address and port"),
        Kind("double", ENDPOINT, ADDRESS_PORT, "a port-restricted NAT behind the provider's own (100.64.0.0/10)"),
        Kind("udp-blocked", None, None, "TCP to port 443 and nothing else"),
        Kind("ipv6-only", ENDPOINT, ADDRESS_PORT, "no IPv4, no translation, a firewall that lets answers in"),
    )
}

# Ports that a NAT hands out; away from what clients bind, so that a preserved port never hides a mistake.
PORTS = "20000-29999"

_FORWARD = """
table inet guard {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct status dnat accept
        iifname "in" %(allowed)s accept
    }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        meta l4proto { icmp, icmpv6 } accept
        iifname "in" accept
        ct state established,related accept
    }
}
"""

_TRANSLATE = """
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "out" meta l4proto { tcp, udp } snat to %(public)s:%(ports)s%(flags)s
        oifname "out" snat to %(public)s
    }
}
"""

# After source translation the outer port stands in the packet and the inner end in the flow's original direction.
# A mapping learned there lets strangers in; `seen` narrows that to hosts already sent to.
_LEARN = """
table ip learned {
    map mapped { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; size 65535; }
    set seen { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 5m; size 65535; }
    chain learn {
        type filter hook postrouting priority 150;
        oifname "out" meta l4proto udp update @mapped { udp sport : ct original ip saddr . ct original proto-src }
        oifname "out" meta l4proto udp update @seen { udp sport . ip daddr }
    }
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "out" meta l4proto udp %(who)s dnat ip to udp dport map @mapped
    }
}
"""


def rules(kind, public):
    """The ruleset of a router of this kind that translates to `public` (ignored where nothing is translated)."""
    if kind == "ipv6-only":
        return _FORWARD % {"allowed": "meta nfproto ipv6"}
    allowed = "tcp dport 443" if kind == "udp-blocked" else "meta nfproto ipv4"
    flags = " fully-random" if kind == "symmetric" else ""
    ruleset = _FORWARD % {"allowed": allowed} + _TRANSLATE % {"public": public, "ports": PORTS, "flags": flags}
    if kind == "endpoint-independent":
        ruleset += _LEARN % {"who": ""}
    if kind == "address-restricted":
        ruleset += _LEARN % {"who": "udp dport . ip saddr @seen"}
    return ruleset


def one_to_one(public, inner):
    """The ruleset of a router that maps one public address to one inner one, ports untouched, both ways."""
    return f"""
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        ip daddr {public} dnat to {inner}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "out" ip saddr {inner} snat to {public}
    }}
}}
"""
