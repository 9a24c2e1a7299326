import assert from "node:assert/strict";
import { test } from "node:test";

import * as words from "../static/sharing-words.js";

const sharing = (more = {}) => ({
  sharing: false,
  finds_peers: false,
  notice: "",
  upload: { bytes: 0, rate: null, requests: 0, active: 0, refused: 0, endpoints: [], clients: [] },
  download: { bytes: 0, rate: null, sources: [] },
  ratio: null,
  peers: [],
  swarm: null,
  ...more,
});
const SWARM = {
  torrents: 2,
  peers: 1,
  uploaded: 3e9,
  downloaded: 1e9,
  upload_rate: 5e6,
  download_rate: 0,
  ratio: 3,
};

test("what is off says how it is turned on", () => {
  assert.equal(words.sharingState(sharing()), "Off");
  assert.match(words.sharingWords(sharing()), /--share/);
  assert.match(words.noPeers(sharing()), /lan\.enabled/);
  assert.match(words.noPeers(sharing({ finds_peers: true })), /found yet/);
});

test("what is on needs no words", () => {
  assert.equal(words.sharingState(sharing({ sharing: true })), "On");
  assert.equal(words.sharingState(sharing({ sharing: true, swarm: SWARM })), "On, with a swarm");
  assert.equal(words.sharingWords(sharing({ sharing: true, finds_peers: true })), "");
});

test("the figures add up what was sent over HTTP and in the swarm", () => {
  const upload = { ...sharing().upload, bytes: 1e9, rate: 2e6, active: 2, refused: 1 };
  const on = sharing({ sharing: true, upload, download: { bytes: 2e9, rate: null }, ratio: 2, swarm: SWARM });
  assert.deepEqual(words.sharingFigures(on), [
    ["Sent", "4.00 GB", "7.00 MB/s"],
    ["Received", "2.00 GB", ""],
    ["Share ratio", "2.00"],
    ["Under way", "2 transfers"],
    ["Refused, as all slots were taken", "1 request"],
  ]);
  assert.deepEqual(words.sharingFigures(sharing()), [["Received", "0 B", ""]]);
  assert.deepEqual(words.swarmFigures(SWARM).at(1), ["Connected", "1 peer"]);
});

test("what the swarm sent is not denied where nobody fetched a file over HTTP", () => {
  assert.equal(words.noClients(sharing()), "No other machine has fetched anything yet.");
  assert.equal(words.noClients(sharing({ swarm: { ...SWARM, uploaded: 0 } })), words.noClients(sharing()));
  assert.equal(words.noClients(sharing({ swarm: SWARM })), "Nothing was fetched over HTTP yet, only by the swarm.");
});

test("a peer says how it is known, and when it was last there", () => {
  const now = Date.parse("2026-11-20T09:00:00Z");
  const peer = { host: "a:1", origin: "network", state: "reachable", last_seen: "2026-11-20T06:00:00Z" };
  assert.equal(words.peerFacts(peer, now), "Reachable · found in the network");
  const gone = { ...peer, origin: "settings", state: "unreachable" };
  assert.equal(words.peerFacts(gone, now), "Not reachable · from the settings · last seen 3 h ago");
  const never = { ...peer, origin: "history", state: "unknown", last_seen: null };
  assert.equal(words.peerFacts(never, now), "Not used yet");
  assert.equal(words.peerGave({ received: 0 }), "nothing yet");
  assert.equal(words.peerGave({ received: 3e8 }), "300 MB");
});

test("a client says what it was sent and whether it still reads", () => {
  const client = { client: "192.0.2.9", requests: 3, bytes: 10, active: 0, idle: 7200 };
  assert.equal(words.clientFacts(client, 1e12), "3 requests · 2 h ago");
  assert.equal(words.clientFacts({ ...client, active: 1 }, 1e12), "3 requests · 1 transfer under way");
});

test("a state of a later version is shown as it is", () => {
  const peer = { origin: "moon", state: "asleep", last_seen: null };
  assert.equal(words.peerFacts(peer, 0), "asleep · moon");
});
