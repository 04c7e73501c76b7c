// Whether the pipeline itself is well: streams, tables, what was rejected and why, device clocks.

import { get } from "./api.js";
import { age, el, when } from "./format.js";
import { serverNow, state } from "./store.js";

const EVERY_MS = 5000;

function table(title, head, rows, empty) {
  if (!rows.length) return el("section", {}, el("h2", {}, title), el("p", { class: "empty" }, empty));
  const cells = rows.map((row) => el("tr", { class: row.bad ? "bad" : false }, ...row.cells.map((text) => el("td", {}, String(text)))));
  const header = el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)));
  return el("section", {}, el("h2", {}, title), el("div", { class: "scroll", tabindex: 0 }, el("table", {}, el("thead", {}, header), el("tbody", {}, ...cells))));
}

const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

function fact(name, text, bad = false) {
  return el("div", { class: `fact ${bad ? "bad" : ""}` }, el("span", { class: "label" }, name), el("strong", {}, text));
}

function page(answer) {
  const now = serverNow();
  const spill = answer.streams.find((one) => one.stream === "SPILL");
  const pending = answer.tables.reduce((sum, one) => sum + one.pending, 0);
  const suspended = answer.tables.filter((one) => one.suspended);
  const nats = answer.nats;
  return [
    el(
      "div",
      { class: "facts" },
      fact("NATS", nats.connected_ns ? `connected since ${when(nats.connected_ns)}` : "NOT CONNECTED", !nats.connected_ns),
      fact("Last message", nats.last_ns ? `${age(now - nats.last_ns / 1e6)} ago` : "none yet"),
      fact("QuestDB", answer.database.ok ? "answers" : `DOES NOT ANSWER: ${answer.database.error}`, !answer.database.ok),
      fact("Rows waiting in SPILL", spill ? String(spill.messages) : "unknown", Boolean(spill?.messages)),
      fact("Transactions not yet visible", String(pending), pending > 1000),
      fact("Suspended tables", suspended.length ? suspended.map((one) => one.table).join(", ") : "none", suspended.length > 0),
      fact("Screens", String(answer.screens)),
    ),
    table(
      "Streams",
      ["Stream", "Messages", "Size", "First", "Last"],
      answer.streams.map((one) => ({ cells: [one.stream, one.messages, mb(one.bytes), one.first_seq, one.last_seq] })),
      answer.streams_error ?? "NATS does not answer.",
    ),
    table(
      "Rejected",
      ["When", "Reason", "Detail", "Subject", "Bytes"],
      answer.rejects.map((one) => ({ cells: [when(one.log_ns), one.reason, one.detail, one.subject, one.bytes] })),
      "Nothing was rejected.",
    ),
    table(
      "Device clocks",
      ["Patient", "Device", "Signal", "Correction", "Uncertainty", "Drift", "Why", "Since"],
      answer.clocks.map((one) => ({
        bad: Math.abs(one.offset_ns) > 6e10,
        cells: [one.patient, one.device, one.signal, `${(one.offset_ns / 1e9).toFixed(3)} s`, `${(one.uncertainty_ns / 1e9).toFixed(3)} s`, one.drift_ppm == null ? "" : `${one.drift_ppm.toFixed(0)} ppm`, one.reason, when(one.ts_ns)],
      })),
      "No device has a clock that was looked at yet.",
    ),
    table(
      "Tables",
      ["Table", "Not yet visible", "State"],
      answer.tables.map((one) => ({ bad: one.suspended, cells: [one.table, one.pending, one.suspended ? "SUSPENDED: takes rows, shows none" : "well"] })),
      "QuestDB does not answer.",
    ),
  ];
}

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
