// Times in the viewer's zone with its offset, ages, numbers of codes.

export const NS_PER_MS = 1e6;

/** "UTC+1" of a moment in the viewer's zone. */
export function offset(date) {
  const minutes = -date.getTimezoneOffset();
  const sign = minutes < 0 ? "-" : "+";
  const [h, m] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return minutes === 0 ? "UTC" : `UTC${sign}${h}${m ? `:${String(m).padStart(2, "0")}` : ""}`;
}

const two = (n) => String(n).padStart(2, "0");

/** "14:03:22 UTC+1", with the date when it is not today's. */
export function when(ns, now = Date.now()) {
  const date = new Date(ns / NS_PER_MS);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  const today = date.toDateString() === new Date(now).toDateString();
  return `${today ? "" : day}${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${offset(date)}`;
}

/** A moment, readable by programs, too. */
export const moment = (ns, now) => el("time", { datetime: new Date(ns / NS_PER_MS).toISOString() }, when(ns, now));

/** How long ago a moment was. */
export const ago = (ns, nowMs) => el("time", { datetime: new Date(ns / NS_PER_MS).toISOString(), "data-ago": true }, `${age(nowMs - ns / NS_PER_MS)} ago`);

/** "4 s", "3 min", "2 h", "5 d". */
export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

const DIGITS = { temp: 1, weight: 1, glucose: 0, perfusion_index: 1 };

/** A value of a code, rounded as it is read. */
export const number = (code, value) => (value == null ? "–" : value.toFixed(DIGITS[code] ?? 0));

const UNITS = { "mm[Hg]": "mmHg", Cel: "°C", "[degF]": "°F", 1: "" };
/** A UCUM unit as people write it. */
export const unit = (ucum) => UNITS[ucum] ?? ucum;

/** A rule's name as words. */
export const words = (name) => name.replaceAll("_", " ");

/** After how many seconds a number is too old to be read as the present one. */
export const FRESH_S = { hr: 15, pulse_rate: 15, spo2: 15, resp_rate: 60 };

/**
 * A number with its source: the address below api/v1 whose answer holds it, and after # the way to it there
 * (docs/dashboard.md). A browser test reads every number on every page and looks it up.
 */
export const figure = (text, source, more = {}) => el("span", { "data-source": source, ...more }, String(text));

/** A name of somebody or something, which may look like a number. */
export const named = (text) => el("span", { "data-name": true }, text);

/** What people and programs wrote in their own words. */
export const said = (text) => el("span", { "data-words": true }, text);

/** Where a row of one moment is: JavaScript knows a moment of ns to 256 ns only. */
export function source(patient, kind, params, ns, way, beforeMs = 0) {
  const us = BigInt(Math.round(ns / 1000));
  const query = new URLSearchParams({ ...params, from: `${us - 1n - BigInt(beforeMs) * 1000n}000`, to: `${us + 2n}000` });
  return `/patients/${encodeURIComponent(patient)}/${kind}?${query}#${way}`;
}

/** An element: attributes, then children. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
