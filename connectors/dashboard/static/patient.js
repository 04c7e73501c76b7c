// One patient: live strips, numbers, alerts with the strip of their moment, trends, limits, notes.

import { command, get, outcome } from "./api.js";
import { answers, arrange, badge, sentence, since, standing } from "./alertview.js";
import { el, moment as time, named, said, words } from "./format.js";
import { limitEditor } from "./limits.js";
import { alertsOf, listen, merge, serverNow, state, watch } from "./store.js";
import { follow, preference } from "./strips.js";
import { drawStill } from "./sweep.js";
import { trends } from "./trends.js";
import { quality, reading, seen as lastSeen, show, SILENT_MS } from "./ward.js";

const BIG = [["hr", "HR", "/min"], ["spo2", "SpO₂", "%"], ["resp_rate", "RR", "/min"], ["bp", "BP", "mmHg"], ["temp", "Temp", "°C"], ["news2", "NEWS2", ""]];
const AROUND_MS = 4000;
const MOST_STILL_MS = 20_000;

function numbers() {
  const cells = BIG.map(([code, label, of]) => {
    const value = el("span", { class: "value", "data-value": code });
    const old = el("span", { class: "old" });
    const source = el("span", { class: "source" });
    return { code, value, old, source, node: el("div", { class: `number ${code}` }, el("span", { class: "label" }, label, of ? el("small", {}, ` ${of}`) : null), value, old, source) };
  });
  const update = (tile, now) => {
    for (const cell of cells) {
      const shown = reading(tile, cell.code, now);
      show(cell, shown, now);
      cell.node.hidden = shown.state === "absent" && cell.code !== "hr" && cell.code !== "spo2";
      const [, signal] = (tile.values[cell.code]?.source ?? "").split("/");
      cell.source.replaceChildren(...(signal ? ["from ", named(signal)] : []));
    }
  };
  return { node: el("div", { class: "numbers" }, ...cells.map((one) => one.node)), update };
}

/** The strip of the moment at which an alert was raised, read when somebody opens it. */
function moment(alert) {
  if (!state.tiles.get(alert.patient)?.waves.length) return null;
  const box = el("div", { class: "still" });
  const details = el("details", {}, el("summary", {}, "Strip of the moment"), box);
  details.addEventListener("toggle", async () => {
    if (!details.open || box.children.length) return;
    const tile = state.tiles.get(alert.patient);
    const own = tile?.waves.some((wave) => wave.signal === alert.signal) ? alert.signal : null;
    const signal = own ?? [...(tile?.waves ?? [])].sort((a, b) => preference(a.signal) - preference(b.signal))[0]?.signal;
    if (!signal) return box.append("no wave was sent");
    const toMs = alert.evidence_to_ns / 1e6 + AROUND_MS;
    const fromMs = Math.max(alert.evidence_from_ns / 1e6 - AROUND_MS, toMs - MOST_STILL_MS);
    const ns = (ms) => `${Math.round(ms)}000000`;
    try {
      // Frames begin up to a second before their samples.
      const { frames } = await get(`/patients/${alert.patient}/waveforms/${signal}`, { from: ns(fromMs - 1000), to: ns(toMs) });
      if (!frames.length) return box.append("no samples are stored of that time");
      const canvas = el("canvas", { class: "strip", role: "img", "aria-label": `${signal} when ${words(alert.rule)} was raised` });
      box.append(el("p", {}, named(signal), el("span", { class: "label" }, ", 25 mm/s, from "), time(fromMs * 1e6)), el("div", { class: "scroll", tabindex: 0 }, canvas));
      drawStill(canvas, signal, frames, fromMs, toMs);
    } catch (error) {
      box.append(error.message);
    }
  });
  return details;
}

function alertCard(alert) {
  return el(
    "li",
    { class: `alert-card ${alert.priority}` },
    el("div", {}, badge(alert), " ", el("strong", {}, sentence(alert))),
    el("p", { class: "meta" }, since(alert), "; ", standing(alert)),
    answers(alert),
    moment(alert),
  );
}

async function past(patient) {
  const list = el("ol", { class: "past" });
  const { alerts } = await get("/alerts", { patient, limit: 500 });
  for (const one of alerts.reverse().slice(0, 100)) {
    const became = one.event && one.event !== one.state ? `${words(one.event)}, ${one.state}` : one.state;
    const by = `${one.actor ? ` by ${one.actor}` : ""}${one.reason ? `: ${one.reason}` : ""}`;
    list.append(el("li", {}, time(one.log_ns), `  ${one.priority}  `, el("strong", {}, named(words(one.rule))), `  ${became}`, said(by)));
  }
  if (!alerts.length) list.append(el("li", { class: "label" }, "none in the last 24 hours"));
  return list;
}

/** Sends what a form says, and tells what became of it; `done` is called when it has been done. */
function send(form, patient, name, argument, done = () => {}) {
  const status = form.querySelector("[role=status]");
  return async (event) => {
    event.preventDefault();
    try {
      const stored = await command(patient, name, argument());
      status.textContent = "in the log";
      form.reset();
      const became = await outcome(patient, stored);
      if (became === "done") await done();
      status.textContent = became || "in the log";
    } catch (error) {
      status.textContent = `not sent: ${error.message}`;
    }
  };
}

function note(patient, done) {
  const text = el("input", { required: true, maxlength: 2000, size: 40, "aria-label": "Note" });
  const form = el("form", {}, text, el("button", { type: "submit" }, "Add note"), el("span", { role: "status", class: "status" }));
  form.addEventListener("submit", send(form, patient, "note", () => ({ text: text.value }), done));
  return form;
}

/** The limits, read when they are opened. */
function limits(patient, may) {
  const editor = limitEditor(patient, may);
  const problem = el("p", { class: "problem" });
  const node = el("details", { class: "section" }, el("summary", {}, "Limits"), editor.node, problem);
  const read = () => editor.show().then(() => (problem.textContent = ""), (error) => (problem.textContent = error.message));
  node.addEventListener("toggle", () => node.open && read());
  return node;
}

const KEEPS = { all: "all of them", around_alerts: "those around alerts", none: "none" };

/** Which waves are stored, and who said so. */
async function kept(patient) {
  const { commands } = await get(`/patients/${encodeURIComponent(patient)}/commands`, { name: "waveforms", result: "done", from: 0, limit: 1 });
  const [last] = commands;
  if (!last) return el("p", {}, "All of them are stored; nobody said otherwise.");
  const { keep, before_s: before = 30, after_s: after = 30 } = JSON.parse(last.argument);
  const around = keep === "around_alerts" ? said(`, ${before} s before to ${after} s after`) : "";
  return el("p", {}, "Stored are ", el("strong", {}, KEEPS[keep]), around, ": by ", said(last.actor), ", ", time(last.ts_ns));
}

function keepForm(patient, done) {
  const keep = el("select", { "aria-label": "Which waves are stored" }, ...Object.entries(KEEPS).map(([value, text]) => el("option", { value }, text)));
  const form = el("form", {}, keep, el("button", { type: "submit" }, "Store these waves"), el("span", { role: "status", class: "status" }));
  form.addEventListener("submit", send(form, patient, "waveforms", () => ({ keep: keep.value }), done));
  return form;
}

/** A section that is read when it is opened, and again after what its form (made with how to do so) has changed. */
function section(title, make, form = () => null) {
  const body = el("div");
  const read = async () => body.replaceChildren(await make().catch((error) => el("p", { class: "problem" }, error.message)));
  const node = el("details", { class: "section" }, el("summary", {}, title), body, form(read) ?? "");
  node.addEventListener("toggle", () => node.open && read());
  return node;
}

function scale() {
  return el("p", { class: "scale label" }, el("span", { class: "bar", "aria-hidden": "true" }), "1 s = 25 mm; leads 10 mm/mV; ▼ R peak");
}

export function patient(main, name) {
  const [strip, list] = [el("div", { class: "strips" }), el("ul", { class: "alerts" })];
  const [seen, signals, none] = [el("span", { class: "seen" }), el("span", { class: "quality" }), el("p", { class: "empty" }, "No wave arrives now.")];
  const [big, trend] = [numbers(), trends(name)];
  const may = state.who?.role !== "viewer";
  const live = el("div", { class: "live quiet" }, el("div", {}, strip, none, scale()), big.node);
  main.replaceChildren(
    el("div", { class: "patient-head" }, el("a", { href: "#/", class: "back" }, "← Ward"), el("h1", {}, named(name)), seen, signals),
    live,
    el("section", { "aria-label": "Alerts" }, el("h2", {}, "Alerts"), list),
    trend.node,
    section("Alerts of the last 24 hours", () => past(name)),
    limits(name, may),
    section("Stored waves", () => kept(name), (read) => (may ? keepForm(name, read) : null)),
    ...(may ? [el("details", { class: "section" }, el("summary", {}, "Note"), note(name, trend.refresh))] : []),
  );

  const unfollow = follow((wave) => {
    if (wave.patient !== name) return null;
    none.hidden = true;
    const canvas = el("canvas", { class: `strip ${wave.signal.startsWith("ecg") ? "ecg" : wave.signal}`, role: "img", "aria-label": `${wave.signal} of ${name}, live` });
    const figure = el("figure", { "data-order": preference(wave.signal) }, el("figcaption", {}, named(wave.signal.replace("_", " "))), canvas);
    const after = [...strip.children].find((one) => Number(one.dataset.order) > preference(wave.signal));
    strip.insertBefore(figure, after ?? null);
    return canvas;
  });
  watch([name]);

  let key = null;
  const refresh = () => {
    const [tile, now] = [state.tiles.get(name), serverNow()];
    if (tile) {
      const silentMs = now - tile.seen_ns / 1e6;
      big.update(tile, now);
      seen.replaceChildren(...lastSeen(tile, now));
      main.classList.toggle("silent", silentMs > SILENT_MS);
      signals.replaceChildren(...quality(tile));
    } else {
      seen.textContent = "nothing is known of this patient";
    }
    // Who sends no wave has numbers side by side in place of an empty half of a page.
    live.classList.toggle("quiet", !none.hidden && !tile?.waves.length);
    const found = alertsOf(name);
    const now_key = found.map((one) => `${one.alert_id}.${one.transition}`).join();
    if (now_key !== key) {
      key = now_key;
      arrange(list, found, alertCard);
    }
  };
  const stop = listen((kind) => ["board", "alert", "state"].includes(kind) && refresh());
  const timer = setInterval(refresh, 1000);
  get(`/patients/${encodeURIComponent(name)}/latest`).then((tile) => (merge(tile), refresh()), () => {});
  refresh();
  const trending = trend.start();
  return () => (stop(), unfollow(), watch([]), clearInterval(timer), clearInterval(trending), main.classList.remove("silent"));
}
