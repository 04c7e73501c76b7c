// The census board: a tile a patient, whoever needs somebody first.

import { get } from "./api.js";
import { badge, sentence } from "./alertview.js";
import { age, ago, el, figure, FRESH_S, named, number, source } from "./format.js";
import { alertsOf, listen, merge, serverNow, state, unanswered } from "./store.js";

export const SILENT_MS = 10_000;
const SORT_MS = 2000;
const RELOAD_MS = 60_000;
const PRIORITY = { high: 0, medium: 1, low: 2 };
const SHOWN = [
  ["hr", "HR", "/min"],
  ["spo2", "SpO₂", "%"],
  ["resp_rate", "RR", "/min"],
  ["bp", "BP", "mmHg"],
  ["news2", "NEWS2", ""],
];
const STATUS = { 1: "lead off", 2: "motion", 4: "paced" };

/** A value of a tile as it is written, with where it comes from. */
function written(tile, code, value) {
  const [device, signal] = (value.source ?? "").split("/");
  // A rate of R peaks is no row of its own: it is that of the last eight intervals.
  const from = signal
    ? source(tile.patient, "beats", { device, signal }, value.ts_ns, "beats|rate", 60_000)
    : source(tile.patient, "observations", { code, device }, value.ts_ns, "observations/0/value");
  return figure(number(code, value.value), from);
}

const ABSENT = { parts: ["–"], state: "absent" };

/** A number as it may be read now: too old ones are not shown as present. */
export function reading(tile, code, now) {
  if (code === "bp") {
    const { sbp, dbp } = tile.values;
    if (!sbp) return ABSENT;
    return { parts: [written(tile, "sbp", sbp), "/", dbp ? written(tile, "dbp", dbp) : "–"], ...freshness(sbp, Infinity, now) };
  }
  if (code === "news2") {
    const score = tile.scores?.news2;
    if (score?.value == null) return ABSENT;
    const from = source(tile.patient, "scores", { score: code }, score.ts_ns, "scores/0/value");
    return { parts: [figure(number(code, score.value), from)], ...freshness(score, Infinity, now) };
  }
  const pulse = code === "hr" && !tile.values.hr ? tile.values.pulse_rate : undefined;
  const value = tile.values[code] ?? pulse;
  if (!value) return ABSENT;
  const found = freshness(value, (FRESH_S[code] ?? Infinity) * 1000, now);
  return { parts: [found.state === "old" ? "- -" : written(tile, pulse ? "pulse_rate" : code, value)], ...found, from: pulse ? "pulse" : "" };
}

/** Puts a reading into its cell. */
export function show({ value, old, node }, shown, nowMs) {
  value.replaceChildren(...shown.parts);
  old.replaceChildren(...(shown.from ? [shown.from] : []), ...(shown.from && shown.ts_ns ? [", "] : []), ...(shown.ts_ns ? [ago(shown.ts_ns, nowMs)] : []));
  node.dataset.state = shown.state;
}

function freshness(value, limitMs, now) {
  const ageMs = now - value.ts_ns / 1e6;
  // How old it is, is said where it matters.
  return { state: ageMs > limitMs ? "old" : "fresh", ts_ns: ageMs > 60_000 || ageMs > limitMs ? value.ts_ns : 0 };
}

/** How good the signals are, in words. */
export function quality(tile) {
  const found = tile.waves.flatMap((wave) => Object.keys(STATUS).filter((bit) => wave.status & bit).map((bit) => [named(wave.signal), ` ${STATUS[bit]}`]));
  const [code, worst] = Object.entries(tile.values).reduce((low, one) => ((one[1].quality_pct || 100) < (low[1]?.quality_pct || 100) ? one : low), ["", null]);
  if (worst && worst.quality_pct < 50) {
    const from = source(tile.patient, "observations", { code, device: worst.source }, worst.ts_ns, "observations/0/quality_pct");
    found.push([`${code.replace("_", " ")} quality `, figure(worst.quality_pct, from), " %"]);
  }
  return found.length ? found.flatMap((part, n) => (n ? [", ", ...part] : part)) : ["signals good"];
}

const worst = (patient) => alertsOf(patient).reduce((low, one) => Math.min(low, (unanswered(one) ? 0 : 5) + PRIORITY[one.priority]), 99);

function order(a, b) {
  const news = (tile) => tile.scores?.news2?.value ?? -1;
  return worst(a.patient) - worst(b.patient) || news(b) - news(a) || a.patient.localeCompare(b.patient, undefined, { numeric: true });
}

/** When a patient's devices were last heard of. */
export function seen(tile, now) {
  const at = ago(tile.seen_ns, now);
  return now - tile.seen_ns / 1e6 > SILENT_MS ? ["NO DATA, last ", at] : ["last data ", at];
}

function makeTile(patient) {
  const cells = Object.fromEntries(
    SHOWN.map(([code, label, unit]) => {
      const value = el("span", { class: "value", "data-value": code });
      const old = el("span", { class: "old" });
      const node = el("div", { class: `cell ${code}` }, el("span", { class: "label" }, label, unit ? el("small", {}, ` ${unit}`) : null), value, old);
      return [code, { value, old, node }];
    }),
  );
  const parts = { alert: el("div", { class: "tile-alert" }), seen: el("span", { class: "seen" }), quality: el("span", { class: "quality" }) };
  const node = el(
    "a",
    { class: "tile", href: `#/patient/${encodeURIComponent(patient)}`, "data-patient": patient },
    el("div", { class: "tile-head" }, el("strong", {}, named(patient)), parts.seen),
    parts.alert,
    el("div", { class: "cells" }, ...Object.values(cells).map((one) => one.node)),
    parts.quality,
  );
  return { node, cells, ...parts };
}

function fill(made, tile, now) {
  const silentMs = now - tile.seen_ns / 1e6;
  const silent = silentMs > SILENT_MS;
  made.node.classList.toggle("silent", silent);
  made.seen.replaceChildren(...seen(tile, now));
  for (const [code] of SHOWN) show(made.cells[code], reading(tile, code, now), now);
  made.quality.replaceChildren(...(silent ? [] : quality(tile)));
  const alerts = alertsOf(tile.patient);
  made.node.dataset.priority = alerts.length && unanswered(alerts[0]) ? alerts[0].priority : "";
  const key = alerts.map((one) => `${one.alert_id}.${one.transition}`).join();
  if (made.key === key) return;
  made.key = key;
  const others = `/alerts?state=standing&patient=${encodeURIComponent(tile.patient)}#alerts|count:`;
  const more = alerts.length > 1 ? figure(`+${alerts.length - 1}`, others, { class: "more", "data-plus": -1 }) : null;
  made.alert.replaceChildren(...(alerts.length ? [badge(alerts[0]), el("span", { class: "what" }, sentence(alerts[0])), more].filter(Boolean) : []));
}

export async function load() {
  const { patients } = await get("/patients");
  patients.forEach(merge);
}

export function ward(main) {
  const board = el("div", { class: "board" });
  const empty = el("p", { class: "empty" }, "No patient has sent anything in the last 24 hours.");
  const problem = el("p", { class: "problem", role: "status", hidden: true });
  main.replaceChildren(el("h1", { class: "visually-hidden" }, "Ward"), problem, board);
  const made = new Map();
  // Not 0: the clock of a page begins there, and the board would stay empty for the first seconds.
  let [sorted, loaded] = [-Infinity, false];

  const refresh = () => {
    const now = serverNow();
    for (const tile of state.tiles.values()) {
      if (!made.has(tile.patient)) {
        made.set(tile.patient, makeTile(tile.patient));
        sorted = -Infinity;
      }
      fill(made.get(tile.patient), tile, now);
    }
    // Tiles that jump under the finger are worse than an order that is two seconds old.
    if (performance.now() - sorted > SORT_MS) {
      sorted = performance.now();
      const wanted = [...state.tiles.values()].sort(order).map((tile) => made.get(tile.patient).node);
      if (wanted.some((node, at) => board.children[at] !== node)) {
        const focused = document.activeElement;
        board.replaceChildren(...wanted);
        if (wanted.includes(focused)) focused.focus();
      }
      if (!made.size && loaded) board.replaceChildren(empty);
    }
  };
  const reload = () =>
    load().then(
      () => {
        loaded = true;
        problem.hidden = true;
        refresh();
      },
      (error) => {
        problem.hidden = false;
        problem.textContent = `Earlier values are missing: ${error.message}`;
      },
    );
  reload();
  const stop = listen((kind) => ["board", "alert", "state"].includes(kind) && refresh());
  // The ages go on when nothing comes: that is when they matter.
  const timers = [setInterval(refresh, 1000), setInterval(reload, RELOAD_MS)];
  refresh();
  return () => (stop(), timers.forEach(clearInterval));
}
