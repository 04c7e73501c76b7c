// What the server says, kept for every page: tiles, standing alerts, live strips; and whether it still says anything.

import { liveAddress } from "./api.js";

/** Without a message for this long what is shown is old. The server speaks twice a second. */
export const STALE_MS = 2000;
const RETRY_MS = [250, 500, 1000, 2000, 4000];
/** Alerts of the pipeline that mean that patients' alerts do not come; others are for the technical page. */
const NO_ALERTS = ["pipeline_silent", "log_hole"];
const ORDER = { high: 0, medium: 1, low: 2 };

export const state = {
  tiles: new Map(),
  alerts: new Map(),
  who: null,
  upstream: { connected_ns: null, flow: { stale_s: 0, says: "" } },
  lastMessage: 0,
  serverOffset: 0,
  refused: "",
  connections: 0,
  waves: 0,
};

const listeners = new Set();
let socket = null;
let attempt = 0;
let watched = [];

/** Calls `listener(kind, data)` on "board", "alert", "wave", "beats", "state". Returns how to stop. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (kind, data) => listeners.forEach((listener) => listener(kind, data));

/** The server's clock now, in ms. */
export const serverNow = () => Date.now() + state.serverOffset;

/** Whose strips are wanted. */
export function watch(patients) {
  watched = patients;
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ watch: watched }));
}

/** Alerts of the pipeline itself, which belong to no organisation. */
export const ofPipeline = () => [...state.alerts.values()].filter((alert) => alert.tenant === "tick");

/** Why what is shown cannot be trusted, or "" when it can. */
export function trouble() {
  if (state.refused) return state.refused;
  if (performance.now() - state.lastMessage > STALE_MS) return "stale";
  if (!state.upstream.connected_ns) return "upstream";
  if (state.upstream.flow.stale_s) return "flow";
  if (ofPipeline().some((alert) => NO_ALERTS.includes(alert.rule))) return "pipeline";
  return "";
}

/** Whether an alert still waits for somebody. */
export const unanswered = (alert) => ["raised", "active", "escalated"].includes(alert.state);

/** Alerts of patients, the most urgent first; of one patient, if one is named. */
export function alertsOf(patient) {
  const found = [...state.alerts.values()].filter((one) => one.tenant !== "tick" && (!patient || one.patient === patient));
  const rank = (one) => (unanswered(one) ? 0 : 10) + ORDER[one.priority];
  return found.sort((a, b) => rank(a) - rank(b) || b.onset_ns - a.onset_ns);
}

/** Puts a tile in, value by value: what the database knew does not replace what is newer. */
export function merge(tile) {
  const before = state.tiles.get(tile.patient) ?? { values: {}, scores: {}, waves: [], seen_ns: 0 };
  const values = { ...before.values };
  for (const [code, value] of Object.entries(tile.values)) {
    if (!values[code] || values[code].ts_ns <= value.ts_ns) values[code] = value;
  }
  state.tiles.set(tile.patient, {
    ...before,
    ...tile,
    values,
    scores: { ...before.scores, ...tile.scores },
    waves: tile.waves.length ? tile.waves : before.waves,
    seen_ns: Math.max(before.seen_ns, tile.seen_ns),
  });
}

function putAlert(alert) {
  const before = state.alerts.get(alert.alert_id);
  if (alert.state === "cleared") state.alerts.delete(alert.alert_id);
  else if (!before || before.transition <= alert.transition) state.alerts.set(alert.alert_id, alert);
}

function onText(message) {
  if (message.server_ns) state.serverOffset = message.server_ns / 1e6 - Date.now();
  if (message.upstream) state.upstream = message.upstream;
  if (message.type === "hello") {
    state.who = { role: message.role, name: message.name, tenant: message.tenant };
    state.alerts.clear();
    message.alerts.forEach(putAlert);
    message.tiles.forEach(merge);
    watch(watched);
    tell("state");
    tell("board");
    tell("alert");
  } else if (message.type === "board") {
    message.tiles.forEach(merge);
    tell("board");
  } else if (message.type === "alert") {
    putAlert(message.alert);
    tell("alert", message.alert);
  } else if (message.type === "beats") {
    tell("beats", message);
  }
}

const decoder = new TextDecoder();

function onWave(buffer) {
  const length = new DataView(buffer).getUint16(0, true);
  const header = JSON.parse(decoder.decode(new Uint8Array(buffer, 2, length)));
  state.waves += 1;
  tell("wave", { ...header, counts: new Int16Array(buffer, 2 + length) });
}

/** Connects, and again whenever the connection ends. */
export function connect() {
  socket = new WebSocket(liveAddress());
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    attempt = 0;
    state.connections += 1;
  };
  socket.onmessage = (event) => {
    state.lastMessage = performance.now();
    state.refused = "";
    if (typeof event.data === "string") onText(JSON.parse(event.data));
    else onWave(event.data);
  };
  socket.onclose = (event) => {
    if (event.code === 1008) state.refused = event.reason || "the server refused this screen";
    const wait = RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];
    attempt += 1;
    tell("state");
    // A ward's screens must not all come back in the same instant.
    setTimeout(connect, wait * (0.75 + Math.random() / 2));
  };
}
