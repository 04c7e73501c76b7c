// Whether the pipeline itself is well: the flow, streams, every signal's frames, what was rejected and why, clocks, tables.

import { get } from "./api.js";
import { ago, el, figure, moment, named, said } from "./format.js";
import { ofPipeline, serverNow, state } from "./store.js";

const EVERY_MS = 3000;
const MOST_SIGNALS = 200;
const COUNTS = ["received", "stored", "late", "duplicate", "rejected"];

function table(title, head, rows, empty) {
  if (!rows.length) return el("section", {}, el("h2", {}, title), el("p", { class: "empty label" }, empty));
  const cells = rows.map((row) => el("tr", { class: row.bad ? "bad" : false }, ...row.cells.map((parts) => el("td", {}, ...[parts].flat()))));
  const header = el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)));
  return el("section", {}, el("h2", {}, title), el("div", { class: "scroll", tabindex: 0 }, el("table", {}, el("thead", {}, header), el("tbody", {}, ...cells))));
}

/** A number of the answer, rounded to `digits`, in units of `scale`. */
const of = (way, value, { digits = 0, scale = 1 } = {}) => figure((value * scale).toFixed(digits), `/status#${way}`, scale === 1 ? {} : { "data-scale": scale });

const mb = (way, bytes) => [of(way, bytes, { digits: 1, scale: 1e-6 }), " MB"];

function fact(name, parts, bad = false) {
  return el("div", { class: `fact ${bad ? "bad" : ""}` }, el("span", { class: "label" }, name), el("strong", {}, ...[parts].flat()));
}

function facts(answer) {
  const now = serverNow();
  const { nats, flow } = answer;
  const spill = answer.streams.find((one) => one.stream === "SPILL");
  const pending = answer.tables.reduce((sum, one) => sum + one.pending, 0);
  const suspended = answer.tables.filter((one) => one.suspended);
  const rated = answer.ledger.filter((one) => one.frames_per_min != null);
  const rate = rated.reduce((sum, one) => sum + one.frames_per_min, 0);
  const state = flow.known ? flow.says || flow.states.join(", ") : `unknown: nobody answers at ${flow.urls.join(", ")} (vitals run)`;
  return el(
    "div",
    { class: "facts" },
    fact("NATS", nats.connected_ns ? ["connected since ", moment(nats.connected_ns)] : "NOT CONNECTED", !nats.connected_ns),
    fact("Last message", nats.last_ns ? ago(nats.last_ns, now) : "none yet"),
    fact("Flow", said(state), !flow.known || flow.stale_s > 0),
    fact("Lag of the flow", flow.known ? [of("flow/lag_s", flow.lag_s, { digits: 1 }), " s, ", of("flow/pending", flow.pending), " messages"] : "unknown", flow.lag_s > 2),
    fact("Alerts of the pipeline", said(ofPipeline().map((one) => one.text || one.rule).join("; ") || "none"), ofPipeline().length > 0),
    fact("Unaccounted messages", flow.known ? of("flow/unaccounted", flow.unaccounted) : "unknown", flow.unaccounted > 0),
    fact("Restarts of the flow", flow.known ? [of("flow/restarts", flow.restarts), flow.reason ? said(`: ${flow.reason}`) : ""] : "unknown"),
    fact("Frames a minute", rated.length ? [of("ledger|sum:frames_per_min", rate), " of ", of("ledger|count:frames_per_min", rated.length), " signals"] : "not counted yet"),
    fact("QuestDB", answer.database.ok ? "answers" : ["DOES NOT ANSWER: ", said(answer.database.error)], !answer.database.ok),
    fact("Messages waiting in SPILL", spill ? of("streams/stream=SPILL/messages", spill.messages) : "unknown", Boolean(spill?.messages)),
    fact("Transactions not yet visible", of("tables|sum:pending", pending), pending > 1000),
    fact("Suspended tables", suspended.length ? suspended.map((one) => one.table).join(", ") : "none", suspended.length > 0),
    fact("Screens", of("screens", answer.screens)),
  );
}

function partitions(flow) {
  const rows = flow.partitions.map((one) => {
    const way = (field) => `flow/partitions/partition=${encodeURIComponent(one.partition)}/${field}`;
    const number = (field, digits = 0) => of(way(field), one[field], { digits });
    return { bad: one.lag_s > 2, cells: [named(one.partition), [number("lag_s", 1), " s"], number("pending"), number("last_seq"), number("durable_seq"), moment(one.log_s * 1e9)] };
  });
  return table("Partitions of the log", ["Partition", "Lag", "Waiting", "Read to", "Done to", "Log time"], rows, "The flow says nothing of itself.");
}

function ledger(answer) {
  // What needs a look comes first: frames that were refused, came late or came twice.
  const trouble = (one) => one.rejected * 1e6 + one.late + one.duplicate;
  const shown = [...answer.ledger].sort((a, b) => trouble(b) - trouble(a)).slice(0, MOST_SIGNALS);
  const rows = shown.map((one) => {
    const way = (field) => `ledger/patient=${one.patient},device=${one.device},signal=${one.signal}/${field}`;
    const rate = one.frames_per_min == null ? "" : of(way("frames_per_min"), one.frames_per_min, { digits: 1 });
    return { bad: one.rejected > 0, cells: [named(one.patient), named(one.device), named(one.signal), ...COUNTS.map((name) => of(way(name), one[name])), rate, moment(one.ts_ns)] };
  });
  const left = answer.ledger.length - shown.length;
  const title = left > 0 ? `Ledger: what became of every signal's frames (the ${MOST_SIGNALS} that need a look most)` : "Ledger: what became of every signal's frames";
  return table(title, ["Patient", "Device", "Signal", "Received", "Stored", "Late", "Twice", "Rejected", "A minute", "Counted"], rows, "No signal was counted in the last 24 hours.");
}

function streams(answer) {
  const rows = answer.streams.map((one) => {
    const way = (field) => `streams/stream=${one.stream}/${field}`;
    const number = (field) => of(way(field), one[field]);
    return { cells: [named(one.stream), number("messages"), mb(way("bytes"), one.bytes), number("first_seq"), number("last_seq")] };
  });
  return table("Streams", ["Stream", "Messages", "Size", "First", "Last"], rows, answer.streams_error ?? "NATS does not answer.");
}

function rejects(answer) {
  const reasons = answer.rejects_by_reason.map((one) => ({ cells: [named(one.reason), of(`rejects_by_reason/reason=${one.reason}/messages`, one.messages)] }));
  const rows = answer.rejects.map((one) => ({
    cells: [one.log_ns ? moment(one.log_ns) : "", named(one.reason), said(one.detail), named(one.subject), of(`rejects/seq=${one.seq}/bytes`, one.bytes)],
  }));
  return [
    ...(reasons.length ? [table("Rejected by reason", ["Reason", "Messages"], reasons, "")] : []),
    table("Rejected last", ["When", "Reason", "Detail", "Subject", "Bytes"], rows, "Nothing was rejected."),
  ];
}

function clocks(answer) {
  const rows = answer.clocks.map((one) => {
    const way = (field) => `clocks/patient=${one.patient},device=${one.device},signal=${one.signal}/${field}`;
    const seconds = (field) => [of(way(field), one[field], { digits: 3, scale: 1e-9 }), " s"];
    const drift = one.drift_ppm == null ? "" : [of(way("drift_ppm"), one.drift_ppm), " ppm"];
    return { bad: Math.abs(one.offset_ns) > 6e10, cells: [named(one.patient), named(one.device), named(one.signal), seconds("offset_ns"), seconds("uncertainty_ns"), drift, one.reason, moment(one.ts_ns)] };
  });
  return table("Device clocks", ["Patient", "Device", "Signal", "Correction", "Uncertainty", "Drift", "Why", "Since"], rows, "No device has a clock that was looked at yet.");
}

function tables(answer) {
  const rows = answer.tables.map((one) => ({
    bad: one.suspended,
    cells: [named(one.table), of(`tables/table=${one.table}/pending`, one.pending), one.suspended ? "SUSPENDED: takes rows, shows none" : "well"],
  }));
  return table("Tables", ["Table", "Not yet visible", "State"], rows, "QuestDB does not answer.");
}

const page = (answer) => [facts(answer), partitions(answer.flow), ledger(answer), ...rejects(answer), streams(answer), clocks(answer), tables(answer)];

export function technical(main) {
  const body = el("div", {}, el("p", { class: "empty" }, "reading"));
  main.replaceChildren(el("h1", {}, "Technical"), body);
  let gone = false;
  const read = async () => {
    try {
      const answer = await get("/status");
      if (!gone) body.replaceChildren(...page(answer));
    } catch (error) {
      if (!gone) body.replaceChildren(el("p", { class: "problem" }, error.message));
    }
  };
  read();
  const timer = setInterval(() => state.lastMessage && read(), EVERY_MS);
  return () => ((gone = true), clearInterval(timer));
}
