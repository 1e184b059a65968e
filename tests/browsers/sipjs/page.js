import { SimpleUser } from "sip.js/lib/platform/web/index.js";

// Does and says what scripts/web_phone/phone.js does and says, by SIP.js.
const { uri, password, server } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

globalThis.events = [];
const says = (name) => globalThis.events.push(name);

const user = new SimpleUser(server, {
  aor: uri,
  media: { constraints: { audio: true, video: false }, remote: { audio: document.getElementById("audio") } },
  userAgentOptions: {
    authorizationUsername: uri.replace(/^sip:|@.*/g, ""),
    authorizationPassword: password,
    sessionDescriptionHandlerFactoryOptions: { peerConnectionConfiguration: { iceServers: [] } },
  },
  delegate: {
    onRegistered: () => says("registered"),
    onUnregistered: () => says("unregistered"),
    onServerDisconnect: () => says("disconnected"),
    onCallReceived: () => says("rings"),
    onCallAnswered: () => says("connected"),
    onCallHold: (held) => says(held ? "held" : "resumed"),
    onCallHangup: () => says("ended"),
  },
});

globalThis.phone = {
  stop: () => user.unregister().then(() => user.disconnect()),
  call: (target) => user.call(target, {}, { requestDelegate: { onProgress: () => says("ringing") } }),
  answer: () => user.answer(),
  hangUp: () => user.hangup(),
  decline: () => user.decline(),
  hold: () => user.hold(),
  resume: () => user.unhold(),
  refresh: () => user.register(),
  async heard() {
    const stats = await user.session.sessionDescriptionHandler.peerConnection.getStats();
    return [...stats.values()].find((one) => one.type === "inbound-rtp")?.packetsReceived ?? 0;
  },
};

user.connect().then(() => user.register());
