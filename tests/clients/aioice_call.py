"""Two aioice agents that may use relayed candidates only exchange messages. Arguments and result are JSON.

    aioice_call.py '{"server": "203.0.113.10", "port": 3478, "transport": "udp", "tls": false,
                     "username": "...", "password": "...", "messages": 50}'
"""

import asyncio
import json
import sys

import aioice


async def call(wanted):
    def agent(controlling):
        return aioice.Connection(
            ice_controlling=controlling,
            turn_server=(wanted["server"], wanted["port"]),
            turn_username=wanted["username"],
            turn_password=wanted["password"],
            turn_ssl=wanted["tls"],
            turn_transport=wanted["transport"],
            transport_policy=aioice.TransportPolicy.RELAY,
        )

    caller, callee = agent(True), agent(False)
    await asyncio.gather(caller.gather_candidates(), callee.gather_candidates())
    for one, other in ((caller, callee), (callee, caller)):
        for candidate in other.local_candidates:
            await one.add_remote_candidate(candidate)
        await one.add_remote_candidate(None)
        one.remote_username, one.remote_password = other.local_username, other.local_password
    await asyncio.gather(caller.connect(), callee.connect())

    received = 0
    for number in range(wanted["messages"]):
        await caller.send(b"to callee %d" % number)
        received += await callee.recv() == b"to callee %d" % number
        await callee.send(b"to caller %d" % number)
        received += await caller.recv() == b"to caller %d" % number
    pair = caller._nominated[1]
    result = {
        "local": pair.local_candidate.type,
        "remote": pair.remote_candidate.type,
        "relay": [pair.local_candidate.host, pair.local_candidate.port],
        "received": received,
    }
    await asyncio.gather(caller.close(), callee.close())
    return result


print(json.dumps(asyncio.run(asyncio.wait_for(call(json.loads(sys.argv[1])), 30))))
