import { Phone } from "./phone.js";

// The account comes in the URL's fragment, which no server ever sees: #uri=sip:alice@…&password=…&server=wss://…
const account = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const element = (id) => document.getElementById(id);
const texts = {
  registered: "Registered.",
  unregistered: "Not registered.",
  disconnected: "The edge can't be reached; trying again.",
  rings: "Rings:",
  ringing: "Ringing there.",
  connected: "In a call.",
  held: "On hold.",
  resumed: "In a call.",
  mended: "In a call.",
  ended: "The call has ended:",
  failed: "Not registered:",
};

globalThis.events = []; // all that has come about, for programs that watch

function says(name, detail = "") {
  globalThis.events.push(detail ? `${name} ${detail}` : name);
  element("state").textContent = `${texts[name]} ${detail}`;
}

function start(event) {
  event?.preventDefault();
  globalThis.phone?.stop();
  const fields = Object.fromEntries(new FormData(element("account")));
  globalThis.phone = new Phone(fields, element("audio"), says);
  globalThis.phone.start();
}

for (const [name, value] of Object.entries(account)) {
  element("account").elements.namedItem(name).value = value;
}
element("account").addEventListener("submit", start);
element("dial").addEventListener("submit", (event) => {
  event.preventDefault();
  globalThis.phone.call(element("number").value);
});
for (const name of ["answer", "hangUp", "hold", "resume"]) {
  element(name).addEventListener("click", () => globalThis.phone[name]());
}
if (account.password) {
  start();
}
