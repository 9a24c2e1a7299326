/** What the panel says about sharing: the answer of `v1/sharing` in, plain text out. Pure. */

import { formatAgo, formatRate, formatSize, plural } from "./format.js";

/** Whether anything is shared, in two words. */
export function sharingState({ sharing, swarm }) {
  if (sharing && swarm) return "On, with a swarm";
  return sharing || swarm ? "On" : "Off";
}

/** What sharing means here, or how to turn it on; empty where the figures say enough. */
export function sharingWords({ sharing, swarm, finds_peers: finds, peers }) {
  if (!sharing && !swarm)
    return "Sharing is off. Start the server with --share to let other machines fetch verified files from this cache.";
  if (!finds && peers.length === 0)
    return "Other machines can fetch verified files from this cache.";
  return "";
}

/** Why no peer is listed. */
export function noPeers({ finds_peers: finds }) {
  return finds
    ? "No other machine that shares its cache was found yet."
    : "Peers are not looked for: set lan.enabled, or name them in sources.peers.";
}

/** Why no client is listed: those of the swarm have figures of their own. */
export function noClients({ swarm }) {
  return swarm?.uploaded
    ? "Nothing was fetched over HTTP yet, only by the swarm."
    : "No other machine has fetched anything yet.";
}

/** The figures of everything that was sent and received: what, how much, and how fast. */
export function sharingFigures({ sharing, upload, download, ratio, swarm }) {
  const sent = upload.bytes + (swarm?.uploaded ?? 0);
  const rate = sum(upload.rate, swarm?.upload_rate);
  return [
    (sharing || swarm) && ["Sent", formatSize(sent), pace(rate)],
    ["Received", formatSize(download.bytes), pace(download.rate)],
    (sharing || swarm) && ["Share ratio", ratio === null ? "–" : ratio.toFixed(2)],
    sharing && ["Under way", plural(upload.active, "transfer")],
    sharing && upload.refused > 0 && ["Refused, as all slots were taken", plural(upload.refused, "request")],
  ].filter(Boolean);
}

/** The figures of the swarm, in the same form. */
export function swarmFigures({ torrents, peers, uploaded, downloaded, upload_rate: up, download_rate: down, ratio }) {
  return [
    ["Torrents", String(torrents)],
    ["Connected", plural(peers, "peer")],
    ["Sent", formatSize(uploaded), pace(up)],
    ["Received", formatSize(downloaded), pace(down)],
    ["Share ratio", ratio === null ? "–" : ratio.toFixed(2)],
  ];
}

function sum(...rates) {
  const known = rates.filter((rate) => rate !== null && rate !== undefined);
  return known.length ? known.reduce((total, rate) => total + rate, 0) : null;
}

function pace(rate) {
  return rate ? formatRate(rate) : "";
}

const PEER_STATES = { reachable: "Reachable", unreachable: "Not reachable", unknown: "Not used yet" };
const ORIGINS = { settings: "from the settings", network: "found in the network", history: "" };

/** What is known of a peer, in words. */
export function peerFacts({ origin, state, last_seen: seen }, now) {
  const ago = seen && state !== "reachable" ? formatAgo(seen, now) : "";
  return [PEER_STATES[state] ?? state, ORIGINS[origin] ?? origin, ago && `last seen ${ago}`]
    .filter(Boolean)
    .join(" · ");
}

/** What a peer gave. */
export function peerGave({ received }) {
  return received ? formatSize(received) : "nothing yet";
}

/** What a client was sent, and whether it still reads. */
export function clientFacts({ requests, active, idle }, now) {
  const when = active ? plural(active, "transfer") + " under way" : formatAgo(new Date(now - 1000 * idle), now);
  return [plural(requests, "request"), when].filter(Boolean).join(" · ");
}
