/** What this server shares with other machines, and what it gets from them. */

import { formatSize } from "../format.js";
import { h, reconcile, setAttribute, setText, show } from "../dom.js";
import {
  clientFacts,
  noClients,
  noPeers,
  peerFacts,
  peerGave,
  sharingFigures,
  sharingState,
  sharingWords,
  swarmFigures,
} from "../sharing-words.js";

/** The section of sharing. */
export function sharingView(root) {
  const parts = Object.fromEntries(
    ["peers", "clients", "swarm"].map((name) => [name, root.querySelector(`[data-part=${name}]`)]),
  );
  const pill = root.querySelector(".sharing-state");
  const words = root.querySelector(".sharing-words");
  const notice = root.querySelector(".notice");
  const figures = root.querySelector(".section-head ~ .sharing-figures");
  return ({ sharing }, now) => {
    show(root, sharing !== null);
    if (!sharing) return;
    const isOn = sharing.sharing || sharing.swarm !== null;
    const hasPeers = sharing.finds_peers || sharing.peers.length > 0;
    setAttribute(root, "data-on", isOn);
    setText(pill, sharingState(sharing));
    setText(words, sharingWords(sharing));
    show(words, Boolean(words.textContent));
    setText(notice, sharing.notice);
    show(notice, Boolean(sharing.notice));
    show(figures, isOn || hasPeers);
    drawFigures(figures, sharingFigures(sharing));
    show(parts.peers, hasPeers || isOn);
    drawList(parts.peers, sharing.peers.map((peer) => peerItem(peer, now)), noPeers(sharing));
    show(parts.clients, sharing.sharing);
    drawList(
      parts.clients,
      sharing.upload.clients.map((client) => clientItem(client, now)),
      noClients(sharing),
    );
    show(parts.swarm, sharing.swarm !== null);
    if (sharing.swarm) drawFigures(parts.swarm.querySelector("dl"), swarmFigures(sharing.swarm));
  };
}

function drawFigures(list, figures) {
  reconcile(list, figures, ([word]) => word, figure);
}

function figure([word]) {
  const value = h("dd");
  const pace = h("dd.sharing-pace");
  return {
    element: h("div.sharing-figure", {}, h("dt", { text: word }), value, pace),
    update([, text, rate = ""]) {
      setText(value, text);
      setText(pace, rate);
      show(pace, Boolean(rate));
    },
  };
}

function drawList(part, items, nothing) {
  const none = part.querySelector(".none");
  reconcile(part.querySelector("ul"), items, ({ name }) => name, machine);
  setText(none, nothing);
  show(none, items.length === 0);
}

function peerItem(peer, now) {
  return { name: peer.host, facts: peerFacts(peer, now), amount: peerGave(peer), state: peer.state };
}

function clientItem(client, now) {
  return {
    name: client.client,
    facts: clientFacts(client, now),
    amount: formatSize(client.bytes),
    state: client.active ? "reachable" : "unknown",
  };
}

function machine({ name }) {
  const amount = h("span.peer-amount");
  const facts = h("span.peer-facts");
  const element = h(
    "li.peer",
    { "data-peer": name },
    h("span.peer-dot", { "aria-hidden": "true" }),
    h("span.peer-name", { text: name, title: name }),
    amount,
    facts,
  );
  return {
    element,
    update(item) {
      setAttribute(element, "data-state", item.state);
      setText(amount, item.amount);
      setText(facts, item.facts);
    },
  };
}
