// Chromium: two RTCPeerConnections with `iceTransportPolicy: relay` and a fake microphone and camera.
// Arguments and result are JSON: {"urls", "username", "credential", "seconds", "spki"}
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENTS + "/");
const { chromium } = require("playwright-core");

const wanted = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    `--ignore-certificate-errors-spki-list=${wanted.spki}`,
  ],
});
try {
  const page = await browser.newPage();
  await page.route("http://localhost/**", (route) =>
    route.fulfill({ contentType: "text/html", body: "<!doctype html><title>call</title>" }),
  );
  await page.goto("http://localhost/");
  console.log(JSON.stringify(await page.evaluate(call, wanted)));
} finally {
  await browser.close();
}

async function call(wanted) {
  const configuration = {
    iceServers: [{ urls: wanted.urls, username: wanted.username, credential: wanted.credential }],
    iceTransportPolicy: "relay",
  };
  const caller = new RTCPeerConnection(configuration);
  const callee = new RTCPeerConnection(configuration);
  const errors = [];
  for (const [one, other] of [
    [caller, callee],
    [callee, caller],
  ]) {
    one.onicecandidate = (event) => event.candidate && other.addIceCandidate(event.candidate);
    one.onicecandidateerror = (event) => errors.push(`${event.errorCode} ${event.errorText} ${event.url}`);
  }
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  for (const track of stream.getTracks()) {
    caller.addTrack(track, stream);
    callee.addTrack(track, stream);
  }
  await caller.setLocalDescription(await caller.createOffer());
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription(await callee.createAnswer());
  await caller.setRemoteDescription(callee.localDescription);

  async function measured() {
    const result = { connected: true, errors, audio_packets: 0, video_packets: 0, lost: 0 };
    const stats = await callee.getStats();
    const own = await caller.getStats();
    own.forEach((entry) => {
      if (entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded") {
        const [local, remote] = [own.get(entry.localCandidateId), own.get(entry.remoteCandidateId)];
        Object.assign(result, {
          local: local.candidateType,
          remote: remote.candidateType,
          protocol: local.relayProtocol,
          relay: `${local.address}:${local.port}`,
          bytes_sent: entry.bytesSent,
          bytes_received: entry.bytesReceived,
        });
      }
    });
    stats.forEach((entry) => {
      if (entry.type === "inbound-rtp") {
        result[`${entry.kind}_packets`] += entry.packetsReceived;
        result.lost += entry.packetsLost;
      }
    });
    return result;
  }

  const connected = await new Promise((resolve) => {
    const limit = setTimeout(() => resolve(false), 20000);
    caller.onconnectionstatechange = () => {
      if (caller.connectionState === "connected") {
        clearTimeout(limit);
        resolve(true);
      }
    };
  });
  if (!connected) return { connected, errors };
  // As long as it takes: a loaded machine encodes slowly.
  let result;
  for (const begun = Date.now(); Date.now() - begun < wanted.seconds * 1000; ) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    result = await measured();
    const { local, audio_packets, video_packets, bytes_sent, bytes_received } = result;
    if (local && audio_packets > 50 && video_packets > 10 && Math.min(bytes_sent, bytes_received) > 10000) break;
  }
  caller.close();
  callee.close();
  return result;
}
