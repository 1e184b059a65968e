import JsSIP from "jssip";

const MEDIA = {
  mediaConstraints: { audio: true, video: false },
  pcConfig: { iceServers: [] },
};
const MEND_EVERY = 2000; // milliseconds; the end that was called begins one later, so that the two don't meet
const LOST = ["disconnected", "failed"];

/** A phone with one call at a time. `says(event, detail)` is told what comes about: `registered`, `unregistered`, `rings`,
 *  `ringing` (at the other end), `connected`, `held` and `resumed` (by this end, and the other knows), `mended` (its media,
 *  by an offer), `ended` (detail: why), `failed` to register (detail: why), `disconnected`. */
export class Phone {
  #agent;
  #call = null;
  #cut = false; // whether the WebSocket has gone in the call
  #asks = false; // whether the edge has been asked for a sign of life
  #mending;
  #says;
  #audio;

  /** `server` is an edge's `wss://` URL, `audio` the element that plays what the other end says. */
  constructor({ uri, password, server }, audio, says) {
    this.#says = says;
    this.#audio = audio;
    this.#agent = new JsSIP.UA({ uri, password, sockets: [new JsSIP.WebSocketInterface(server)] });
    this.#agent.on("registered", () => {
      this.#asks = false;
      says("registered");
      if (this.#broken) this.#negotiate();
    });
    this.#agent.on("unregistered", () => says("unregistered"));
    this.#agent.on("registrationFailed", ({ cause }) => says("failed", cause));
    this.#agent.on("disconnected", () => {
      this.#asks = false;
      this.#cut = Boolean(this.#call?.isEstablished());
      says("disconnected");
    });
    this.#agent.on("newRTCSession", ({ originator, session }) => this.#begun(originator, session));
  }

  start() {
    this.#agent.start();
  }

  /** Unregister and disconnect. */
  stop() {
    this.#agent.stop();
  }

  call(uri) {
    this.#agent.call(uri, MEDIA);
  }

  answer() {
    this.#call.answer(MEDIA);
  }

  /** End the call, or give it up. */
  hangUp() {
    this.#call.terminate();
  }

  decline() {
    this.#call.terminate({ status_code: 486 });
  }

  hold() {
    this.#call.hold({}, () => this.#says("held"));
  }

  resume() {
    this.#call.unhold({}, () => this.#says("resumed"));
  }

  /** Register again. */
  refresh() {
    this.#agent.register();
  }

  /** RTP packets that have come in this call. */
  async heard() {
    const stats = await this.#call.connection.getStats();
    return [...stats.values()].find((one) => one.type === "inbound-rtp")?.packetsReceived ?? 0;
  }

  #begun(originator, session) {
    if (this.#call) {
      session.terminate({ status_code: 486 });
      return;
    }
    this.#call = session;
    const ended = ({ cause }) => {
      this.#call = null;
      this.#cut = false;
      clearTimeout(this.#mending);
      this.#says("ended", cause);
    };
    session.on("ended", ended);
    session.on("failed", ended);
    session.on("confirmed", () => this.#says("connected"));
    session.on("confirmed", () => this.#watch(session));
    if (originator === "remote") {
      session.on("peerconnection", ({ peerconnection }) => this.#listen(peerconnection));
      this.#says("rings", session.remote_identity.uri.toString());
    } else {
      session.on("progress", () => this.#says("ringing"));
      this.#listen(session.connection);
    }
  }

  /** Media are negotiated anew where ICE finds nobody there any more, since what has relayed them is dead (another relay
   *  may have our keys, but not our ICE), and where the WebSocket has gone: we may be in another network. */
  get #broken() {
    return this.#cut || LOST.includes(this.#call?.connection?.iceConnectionState);
  }

  #watch(session) {
    session.connection.addEventListener("iceconnectionstatechange", () => {
      if (this.#broken) this.#mendIn(session.direction === "outgoing" ? 0 : MEND_EVERY / 2);
    });
  }

  #mendIn(milliseconds) {
    clearTimeout(this.#mending);
    this.#mending = setTimeout(() => this.#mend(), milliseconds);
  }

  /** Register first: JsSIP ends a call whose offer goes into a dead WebSocket, and nobody else tells that it is one. */
  #mend() {
    if (!this.#broken) return;
    if (this.#asks) {
      this.#agent.transport.disconnect();
      this.#agent.transport.connect();
    } else if (this.#agent.isConnected()) {
      this.#asks = true;
      this.#agent.register();
    }
    this.#mendIn(MEND_EVERY);
  }

  #negotiate() {
    this.#call.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, () => {
      this.#cut = false;
      this.#says("mended");
    });
    this.#mendIn(MEND_EVERY);
  }

  #listen(connection) {
    connection.addEventListener("track", ({ streams }) => {
      this.#audio.srcObject = streams[0];
    });
  }
}
