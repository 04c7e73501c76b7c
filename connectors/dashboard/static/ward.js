// The census board: a tile a patient, whoever needs somebody first.

import { get } from "./api.js";
import { badge, sentence } from "./alertview.js";
import { age, el, FRESH_S, number } from "./format.js";
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

/** A number as it may be read now: too old ones are not shown as present. */
export function reading(tile, code, now) {
  if (code === "bp") {
    const [sbp, dbp] = [tile.values.sbp, tile.values.dbp];
    if (!sbp) return { text: "–", state: "absent" };
    return { text: `${number("sbp", sbp.value)}/${number("dbp", dbp?.value)}`, ...freshness(sbp, Infinity, now) };
  }
  if (code === "news2") {
    const score = tile.scores?.news2;
    return score ? { text: number("news2", score.value), ...freshness(score, Infinity, now) } : { text: "–", state: "absent" };
  }
  const pulse = code === "hr" && !tile.values.hr ? tile.values.pulse_rate : undefined;
  const value = tile.values[code] ?? pulse;
  if (!value) return { text: "–", state: "absent" };
  const found = freshness(value, (FRESH_S[code] ?? Infinity) * 1000, now);
  return { text: found.state === "old" ? "- -" : number(code, value.value), ...found, from: pulse ? "pulse" : "" };
}

function freshness(value, limitMs, now) {
  const ageMs = now - value.ts_ns / 1e6;
  return { state: ageMs > limitMs ? "old" : "fresh", age: ageMs > 60_000 || ageMs > limitMs ? age(ageMs) : "" };
}

/** How good the signals are, in words. */
export function quality(tile) {
  const found = tile.waves.flatMap((wave) => Object.keys(STATUS).filter((bit) => wave.status & bit).map((bit) => `${wave.signal} ${STATUS[bit]}`));
  const least = Math.min(...Object.values(tile.values).map((value) => value.quality_pct || 100));
  if (least < 50) found.push(`quality ${least} %`);
  return found.length ? found.join(", ") : "signals good";
}

const worst = (patient) => alertsOf(patient).reduce((low, one) => Math.min(low, (unanswered(one) ? 0 : 5) + PRIORITY[one.priority]), 99);

function order(a, b) {
  const news = (tile) => tile.scores?.news2?.value ?? -1;
  return worst(a.patient) - worst(b.patient) || news(b) - news(a) || a.patient.localeCompare(b.patient, undefined, { numeric: true });
}

function makeTile(patient) {
  const cells = Object.fromEntries(
    SHOWN.map(([code, label, unit]) => {
      const value = el("span", { class: "value", "data-value": code });
      const old = el("span", { class: "old" });
      return [code, { value, old, cell: el("div", { class: `cell ${code}` }, el("span", { class: "label" }, label, unit ? el("small", {}, ` ${unit}`) : null), value, old) }];
    }),
  );
  const parts = { alert: el("div", { class: "tile-alert" }), seen: el("span", { class: "seen" }), quality: el("span", { class: "quality" }) };
  const node = el(
    "a",
    { class: "tile", href: `#/patient/${encodeURIComponent(patient)}`, "data-patient": patient },
    el("div", { class: "tile-head" }, el("strong", {}, patient), parts.seen),
    parts.alert,
    el("div", { class: "cells" }, ...Object.values(cells).map((one) => one.cell)),
    parts.quality,
  );
  return { node, cells, ...parts };
}

function fill(made, tile, now) {
  const silentMs = now - tile.seen_ns / 1e6;
  const silent = silentMs > SILENT_MS;
  made.node.classList.toggle("silent", silent);
  made.seen.textContent = silent ? `NO DATA for ${age(silentMs)}` : `${age(silentMs)} ago`;
  for (const [code] of SHOWN) {
    const shown = reading(tile, code, now);
    const { value, old, cell } = made.cells[code];
    value.textContent = shown.text;
    old.textContent = [shown.from, shown.age && `${shown.age} ago`].filter(Boolean).join(", ");
    cell.dataset.state = shown.state;
  }
  made.quality.textContent = silent ? "" : quality(tile);
  const alerts = alertsOf(tile.patient);
  made.node.dataset.priority = alerts.length && unanswered(alerts[0]) ? alerts[0].priority : "";
  const key = alerts.map((one) => `${one.alert_id}.${one.transition}`).join();
  if (made.key === key) return;
  made.key = key;
  const more = alerts.length > 1 ? el("span", { class: "more" }, `+${alerts.length - 1}`) : null;
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
  let sorted = 0;

  const refresh = () => {
    const now = serverNow();
    for (const tile of state.tiles.values()) {
      if (!made.has(tile.patient)) {
        made.set(tile.patient, makeTile(tile.patient));
        sorted = 0;
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
      if (!made.size) board.replaceChildren(empty);
    }
  };
  const reload = () =>
    load().then(
      () => ((problem.hidden = true), refresh()),
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
