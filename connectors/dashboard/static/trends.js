// Trends of a patient from the roll-ups: mean as a line, least to greatest as a band. A bucket without data is a gap.
// Notes of the time are numbered lines in every chart, and a list below them.

import { get } from "./api.js";
import { el, figure, moment, number, said as words } from "./format.js";
import { serverNow } from "./store.js";

// Range in s, roll-up, its length in s.
const RANGES = { "1 h": [3600, "1m", 60], "6 h": [21600, "1m", 60], "24 h": [86400, "5m", 300], "7 d": [604800, "1h", 3600], "30 d": [2592000, "6h", 21600] };
const REFRESH_MS = 60_000;
const MOST_NOTES = 50;
const NS_PER_S = 1e9;
const CHARTS = [
  ["Heart rate /min", ["hr", "pulse_rate", "hr_ecg"], [40, 140]],
  ["SpO₂ %", ["spo2"], [85, 100]],
  ["Respiration /min", ["resp_rate"], [5, 30]],
  ["Blood pressure mmHg", ["sbp", "dbp"], [50, 160]],
];

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Series on a regular grid, null where a bucket has no rows. */
export function grid(rows, fromS, toS, stepS) {
  const start = Math.floor(fromS / stepS) * stepS;
  const times = Array.from({ length: Math.ceil((toS - start) / stepS) }, (_, i) => start + i * stepS);
  const at = new Map(rows.map((row) => [Math.round(row.ts_ns / 1e9), row]));
  const pick = (name) => times.map((time) => at.get(time)?.[name] ?? null);
  return { times, mean: pick("mean"), low: pick("low"), high: pick("high") };
}

async function all(path, params, name) {
  const rows = [];
  let cursor = null;
  do {
    const page = await get(path, { ...params, cursor });
    rows.push(...page[name]);
    cursor = page.next;
  } while (cursor);
  return rows;
}

const two = (n) => String(n).padStart(2, "0");

/** Labels of the time axis in the viewer's zone: clock times within a day, dates beyond. */
function labels(span) {
  const days = span[1] - span[0] > 86400;
  return (_, ticks) =>
    ticks.map((tick) => {
      const date = new Date(tick * 1000);
      return days ? `${two(date.getDate())}.${two(date.getMonth() + 1)}.` : `${two(date.getHours())}:${two(date.getMinutes())}`;
    });
}

/** Notes of a time, the oldest first; of very many the newest. */
async function notesOf(path, { from, to }) {
  const { commands } = await get(`${path}/commands`, { name: "note", result: "done", from, to, limit: MOST_NOTES });
  return commands.reverse().map((one) => ({ s: one.ts_ns / NS_PER_S, ns: one.ts_ns, actor: one.actor, text: JSON.parse(one.argument).text }));
}

/** Draws a line with its number for each note; those that would stand on one another share the first one's number. */
function drawNotes(notes) {
  return (plot) => {
    const { ctx, bbox } = plot;
    const ratio = window.devicePixelRatio || 1;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = style("--ink");
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    let free = -Infinity;
    notes.forEach(({ s }, n) => {
      const x = plot.valToPos(s, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (x < free) return;
      free = x + 16 * ratio;
      ctx.fillText(String(n + 1), x, bbox.top - 3 * ratio);
    });
    ctx.restore();
  };
}

function noteList(notes) {
  const items = notes.map((one) => el("li", {}, moment(one.ns), " ", words(one.text), el("span", { class: "label" }, ", by "), words(one.actor)));
  return el("section", { "aria-label": "Notes", hidden: !notes.length }, el("h3", {}, "Notes"), el("ol", { class: "notes" }, ...items));
}

function chart(node, series, notes, span, [low, high]) {
  const ink = [style("--trace-1"), style("--trace-2"), style("--trace-3")];
  const columns = [series[0].data.times];
  const lines = [{}];
  const bands = [];
  series.forEach(({ name, data }, n) => {
    columns.push(data.high, data.low, data.mean);
    const at = columns.length;
    const edge = { stroke: "transparent", points: { show: false }, spanGaps: false };
    const alone = (_, i) => data.mean[i - 1] == null && data.mean[i + 1] == null;
    const points = { show: true, filter: (_, __, show) => (show ? data.mean.flatMap((v, i) => (v != null && alone(0, i) ? [i] : [])) : null), size: 4 };
    lines.push({ ...edge }, { ...edge }, { label: name, stroke: ink[n], width: 1.5, dash: n ? [6, 3] : undefined, spanGaps: false, points });
    bands.push({ series: [at - 3, at - 2], fill: `color-mix(in srgb, ${ink[n]} 18%, transparent)` });
  });
  const values = series.flatMap(({ data }) => [...data.low, ...data.high]).filter((value) => value != null);
  const axis = { stroke: style("--ink-soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line") } };
  const options = {
    width: Math.max(240, node.clientWidth),
    height: 140,
    padding: [notes.length ? 16 : 8, null, null, null],
    hooks: { draw: [drawNotes(notes)] },
    legend: { show: false },
    cursor: { y: false },
    scales: { x: { time: true, range: () => span }, y: { range: () => [Math.min(low, ...values), Math.max(high, ...values)] } },
    axes: [{ ...axis, values: labels(span), space: 70 }, { ...axis, size: 44, space: 20 }],
    series: lines,
    bands,
  };
  node.replaceChildren();
  return new uPlot(options, columns, node);
}

/** What a reader without eyes for the curve wants of it. */
function extremes(patient, { name, from }, rows, params) {
  const kind = from ? "beats" : "observations";
  const way = (which) => `/patients/${encodeURIComponent(patient)}/${kind}?${new URLSearchParams({ ...params, ...(from ?? { code: name }) })}#${kind}|${which}`;
  const values = (field) => rows.map((row) => row[field]).filter((value) => value != null);
  const least = Math.min(...values("low"));
  const greatest = Math.max(...values("high"));
  return [figure(number(name, least), way("least:low")), " to ", figure(number(name, greatest), way("greatest:high"))];
}

export function trends(patient) {
  const [body, written] = [el("div", { class: "charts" }), el("div")];
  const said = el("span", { role: "status", class: "status" });
  const buttons = Object.keys(RANGES).map((name) => el("button", { type: "button", "aria-pressed": "false", onclick: () => show(name) }, name));
  const node = el("section", { class: "trends", "aria-label": "Trends" }, el("h2", {}, "Trends"), el("div", { class: "ranges" }, ...buttons, said), body, written);

  let current = "1 h";

  async function show(name, quiet = false) {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === name)));
    const [lengthS, every, stepS] = RANGES[name];
    const to = serverNow() / 1000;
    const span = [to - lengthS, to];
    const params = { every, from: Math.round(span[0] * 1e3) * 1e6 + "", to: Math.round(span[1] * 1e3) * 1e6 + "" };
    current = name;
    if (!quiet) said.textContent = "reading";
    try {
      const path = `/patients/${encodeURIComponent(patient)}`;
      const [rows, rates, notes] = await Promise.all([
        all(`${path}/observations`, params, "observations"),
        all(`${path}/beats`, params, "beats"),
        notesOf(path, params),
      ]);
      const by = new Map();
      for (const row of rows) by.set(row.code, [...(by.get(row.code) ?? []), row]);
      const [lead] = [...new Set(rates.map((row) => row.signal))].sort();
      if (lead) by.set("hr_ecg", rates.filter((row) => row.signal === lead));
      if (current !== name) return;
      body.replaceChildren();
      const made = [];
      for (const [title, codes, range] of CHARTS) {
        const series = codes.filter((code) => by.has(code)).map((code) => ({ name: code, from: code === "hr_ecg" ? { signal: lead } : null, data: grid(by.get(code), ...span, stepS) }));
        if (!series.length) continue;
        const place = el("div", { class: "chart", role: "img", "aria-label": `${title}, ${name}`, "data-notes": notes.length });
        const legend = series.flatMap((one, n) => [
          el("span", { class: "label" }, `${n ? "; dashed: " : ""}${one.from ? `by ${lead}` : one.name.replace("_", " ")} `),
          ...extremes(patient, one, by.get(one.name), params),
        ]);
        body.append(el("figure", {}, el("figcaption", {}, el("span", { class: "label" }, `${title}: `), ...legend), place));
        made.push(() => chart(place, series, notes, span, range));
      }
      // Their width is known once all of them are in place.
      made.forEach((draw) => draw());
      written.replaceChildren(noteList(notes));
      said.textContent = body.children.length ? "" : "no readings in this time";
    } catch (error) {
      said.textContent = error.message;
    }
  }
  // A minute's roll-up is whole when the minute is over.
  return { node, refresh: () => show(current, true), start: () => (show(current), setInterval(() => document.visibilityState === "visible" && show(current, true), REFRESH_MS)) };
}
