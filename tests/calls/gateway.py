"""SIPp as a gateway: scenarios are lists of steps, made here, and run on a host of the lab over TCP.

`[...]` within the texts are SIPp's own keywords.
"""

import shutil
import subprocess

import numpy

import speech
from natlab import ahead

PORT = 5060

_REQUEST = """
{method} {uri} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A Caller" <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]g[call_number]
To: <sip:{number}@[remote_ip]:[remote_port]>{tag}
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: <sip:{caller}@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
{headers}Content-Length: [len]

{body}
"""

_SDP = """v=0
o=gateway 1 {version} IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP {number} 101
a=rtpmap:{number} {codec}/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a={direction}
"""


_PAYLOAD_TYPES = {"PCMU": 0, "G722": 9}


def sdp(direction="sendrecv", version=1, codec="PCMU"):
    return _SDP.format(direction=direction, version=version, codec=codec, number=_PAYLOAD_TYPES[codec])


def receive(status, optional=False, branch=None):
    """A response of this status; `branch` is the label that the scenario goes on at when it comes."""
    more = ' optional="true"' * optional + (f' next="{_LABELS[branch]}"' if branch else "")
    return f'<recv response="{status}"{more} rrs="true" rtd="true"></recv>'


def asked(method):
    """A request of this method from the other side."""
    return f'<recv request="{method}" rrs="true"></recv>'


def pause(secs):
    return f'<pause milliseconds="{round(secs * 1000)}"/>'


def told_apart(status, method, branch):
    """A response of this status; when it answers a request of `method`, the scenario goes on at `branch`."""
    action = f'<action><ereg regexp="{method}" search_in="hdr" header="CSeq:" assign_to="which"/></action>'
    return f'<recv response="{status}" rrs="true" test="which" next="{_LABELS[branch]}">{action}</recv>'


# SIPp's labels are numbers.
_LABELS = {"answered": 1, "refused": 2, "refused-first": 3, "over": 4}


def label(name):
    return f'<label id="{_LABELS[name]}"/>'


def go(name):
    return f'<nop next="{_LABELS[name]}"/>'


def play(path):
    """Sends a file of G.711 µ-law to where the last answer said; goes on at once."""
    return f'<nop><action><exec rtp_stream="{path},1,0,PCMU/8000"/></action></nop>'


class Line:
    """The steps of one call, from `caller` to `number`."""

    def __init__(self, number, caller="2001", uri=None):
        self.number, self.caller, self._cseq = number, caller, 0
        self._uri = uri or f"sip:{number}@[remote_ip]:[remote_port];transport=[transport]"

    def _request(self, method, uri="[next_url]", headers="", body="", cseq=None, tag="[peer_tag_param]", more=""):
        if cseq is None:
            self._cseq += 1
        if body and "Content-Type" not in headers:
            headers += "Content-Type: application/sdp\n"
        text = _REQUEST.format(
            method=method, uri=uri, caller=self.caller, number=self.number, cseq=cseq or self._cseq, headers=headers, body=body, tag=tag
        )
        return f'<send{more}><![CDATA[{text}]]></send>'

    def invite(self, body=None, headers=""):
        return self._request("INVITE", self._uri, headers, sdp() if body is None else body, tag="", more=' start_rtd="true"')

    def options(self):
        return self._request("OPTIONS", self._uri, tag="")

    def ack(self, body=""):
        return self._request("ACK", headers="[routes]\n", body=body, cseq=self._cseq)

    def ack_refusal(self, cseq=None):
        """The ACK of an answer that is no 2xx, which belongs to the INVITE's transaction."""
        text = f"""
ACK {self._uri} SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: {cseq or self._cseq} ACK
Max-Forwards: 70
Content-Length: 0

"""
        return f"<send><![CDATA[{text}]]></send>"

    def cancel(self, cseq):
        """CANCEL of the scenario's first request, an INVITE of this CSeq."""
        text = f"""
CANCEL {self._uri} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-1]
From: "A Caller" <sip:{self.caller}@[local_ip]:[local_port]>;tag=[pid]g[call_number]
To: <sip:{self.number}@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: {cseq} CANCEL
Max-Forwards: 70
Content-Length: 0

"""
        return f"<send><![CDATA[{text}]]></send>"

    def again(self, body):
        """A re-INVITE."""
        return self._request("INVITE", headers="[routes]\n", body=body)

    def info(self, key):
        headers = "[routes]\nContent-Type: application/dtmf-relay\n"
        return self._request("INFO", headers=headers, body=f"Signal={key}\nDuration=160\n")

    def notify(self, status, ends=False):
        """How a transfer goes on."""
        state = "terminated;reason=noresource" if ends else "active;expires=60"
        headers = f"[routes]\nEvent: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\n"
        return self._request("NOTIFY", headers=headers, body=f"SIP/2.0 {status}\n")

    def bye(self):
        return self._request("BYE", headers="[routes]\n")

    def answer(self, status, headers=""):
        """The answer to the last request."""
        text = f"""
SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:{self.caller}@[local_ip]:[local_port];transport=[transport]>
{headers}Content-Length: 0

"""
        return f"<send><![CDATA[{text}]]></send>"


def answered(line, body=None, headers="", ack=""):
    """An INVITE that is taken, with everything that may come before."""
    before = [receive(status, optional=True) for status in (100, 180, 183)]
    return [line.invite(body, headers), *before, receive(200), line.ack(ack)]


def refused(line, status, headers=""):
    """An INVITE that gets this status."""
    return [line.invite(None, headers), receive(100, optional=True), receive(status), line.ack_refusal()]


def ended(line):
    return [line.bye(), receive(200)]


class Gateway:
    """SIPp on `host`, whose scenarios run one at a time."""

    def __init__(self, host, directory, address):
        self.host, self.directory, self.address = host, directory, address

    def says(self, name, samples):
        """A file for `play`."""
        path = self.directory / f"{name}.ulaw"
        path.write_bytes(mu_law(samples))
        return path

    def run(self, steps, target, timeout=40, options=()):
        """Runs a scenario against HOST:PORT; fails with what SIPp saw."""
        scenario, trace = self.directory / "scenario.xml", self.directory / "messages.log"
        trace.unlink(missing_ok=True)
        scenario.write_text('<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="call">\n' + "\n".join(steps) + "\n</scenario>\n")
        command = [shutil.which("sipp"), target, "-sf", scenario, "-t", "t1", "-m", "1", "-i", self.address, "-p", PORT, "-mi", self.address]
        command += ["-nostdin", "-trace_msg", "-message_file", trace, "-trace_err", "-error_file", self.directory / "errors.log"]
        command += ["-timeout", f"{timeout - 5}s", "-recv_timeout", "15000", *options]
        done = self.host.run(*ahead(), *command, timeout=timeout, cwd=self.directory)
        self.messages = trace.read_text(errors="replace") if trace.exists() else ""
        assert done.returncode == 0, f"SIPp ended with {done.returncode}\n{done.stdout[-1500:]}\n{self.messages[-6000:]}"
        return self.messages


def mu_law(samples):
    """G.711 µ-law of samples between -1 and 1."""
    linear = (samples.clip(-1, 1) * 32767).astype(numpy.int32)
    magnitude = numpy.minimum(abs(linear), 32635) + 132
    exponent = (numpy.log2(magnitude)).astype(numpy.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    sign = numpy.where(linear < 0, 128, 0)
    return (~(sign | exponent << 4 | mantissa) & 255).astype(numpy.uint8).tobytes()
