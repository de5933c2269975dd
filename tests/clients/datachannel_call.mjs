// Two libjuice agents (by node-datachannel) that may use relayed candidates only exchange messages over a data channel.
// Arguments and result are JSON: {"server", "port", "username", "password", "messages"}
import { createRequire } from "node:module";

const require = createRequire(process.env.CLIENTS + "/");
const { PeerConnection, cleanup } = require("node-datachannel");

const wanted = JSON.parse(process.argv[2]);
const configuration = {
  iceServers: [
    {
      hostname: wanted.server,
      port: wanted.port,
      username: wanted.username,
      password: wanted.password,
      relayType: "TurnUdp",
    },
  ],
  iceTransportPolicy: "relay",
};
const caller = new PeerConnection("caller", configuration);
const callee = new PeerConnection("callee", configuration);
const candidates = [];
for (const [one, other] of [
  [caller, callee],
  [callee, caller],
]) {
  one.onLocalDescription((sdp, type) => other.setRemoteDescription(sdp, type));
  one.onLocalCandidate((candidate, mid) => {
    candidates.push(candidate);
    other.addRemoteCandidate(candidate, mid);
  });
}

let received = 0;
const finish = (code) => {
  const pair = caller.getSelectedCandidatePair();
  console.log(JSON.stringify({ received, local: pair?.local?.type, remote: pair?.remote?.type, candidates }));
  caller.close();
  callee.close();
  cleanup();
  process.exit(code);
};
setTimeout(() => finish(1), 25000);

callee.onDataChannel((channel) => channel.onMessage((text) => channel.sendMessage(text)));
const channel = caller.createDataChannel("echo");
channel.onOpen(() => channel.sendMessage("0"));
channel.onMessage((text) => {
  if (text === String(received)) received += 1;
  if (received === wanted.messages) finish(0);
  else channel.sendMessage(String(received));
});
