"""`turnutils_natdiscovery`, read: coturn's RFC 5780 client."""

import re
import subprocess

from natlab import KINDS
from stun import Wire, binding


def discover_from_everywhere(lab, client, server, server_6, sides="ab"):
    """(side, kind) -> (mapping, filtering) in RFC 5780's words; None where it gets no answer.

    All endpoints ask at once: each waits seconds for what a NAT rightly drops.
    """
    asking = {}
    for side in sides:
        for kind in KINDS:
            host, address = lab.endpoint(side, kind), server_6 if kind == "ipv6-only" else server
            if kind != "udp-blocked":
                # It sends each request once: the way there must be found (routes, neighbours) before it starts.
                with Wire(host, (address, 3478)) as wire:
                    assert binding(wire) is not None, f"{side}-{kind} does not reach {address}"
            asking[side, kind] = host.start(
                client, "-m", "-f", address, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
    found = {}
    for who, process in asking.items():
        output = process.communicate(timeout=60)[0]
        mapping = re.search(r"NAT with (.+) Mapping!", output)
        filtering = re.search(r"NAT with (.+) Filtering!", output)
        found[who] = (mapping and mapping[1], filtering and filtering[1])
    return found
