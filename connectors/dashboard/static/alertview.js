// An alert on the screen: its badge, its sentence, the buttons that answer it.

import { command, outcome } from "./api.js";
import { age, ago, el, figure, moment, number, said, unit, words } from "./format.js";
import { serverNow, state, unanswered } from "./store.js";

// Shape and word say the priority, colour only repeats it.
const SHAPE = { high: "▲▲▲", medium: "▲▲", low: "▲" };
const SNOOZES = { high: [120], medium: [300, 1800], low: [1800, 14400] };

export function badge(alert) {
  const shape = el("span", { "aria-hidden": "true" }, SHAPE[alert.priority]);
  return el("span", { class: `badge ${alert.priority} ${unanswered(alert) ? "open" : "answered"}` }, shape, ` ${alert.priority}`);
}

const from = (alert, field) => `/alerts/${alert.alert_id}#transitions/transition=${alert.transition}/${field}`;

/** What it says, with the value and the limit. */
export function sentence(alert) {
  const what = said(alert.text || words(alert.rule));
  // The last value of a condition that is over is a good one, and would contradict the sentence.
  if (alert.condition === false) return el("span", {}, what, " (over)");
  if (alert.value == null) return el("span", {}, what);
  const measured = [": ", figure(number(alert.code, alert.value), from(alert, "value")), alert.unit === "1" ? "" : ` ${unit(alert.unit)}`];
  const limit = alert.limit == null ? [] : [" (limit ", figure(number(alert.code, alert.limit), from(alert, "limit")), ")"];
  return el("span", {}, what, ...measured, ...limit);
}

/** Where it stands, in words. */
export function standing(alert) {
  const parts = [[alert.state === "raised" ? "active" : alert.state]];
  if (alert.level > 1) parts.push(["level ", figure(alert.level, from(alert, "level"))]);
  if (alert.until_ns) parts.push(["until ", moment(alert.until_ns)]);
  if (alert.actor) parts.push(["by ", said(alert.actor)]);
  if (alert.responsible) parts.push(["responsible: ", said(alert.responsible)]);
  if (alert.condition === false) parts.push(["condition is over"]);
  return el("span", {}, ...parts.flatMap((part, n) => (n ? [", ", ...part] : part)));
}

/** Sends a command and shows what becomes of it: the transition comes by itself, a refusal has to be looked up. */
async function ask(alert, name, argument, status) {
  status.textContent = "sending";
  try {
    const stored = await command(alert.patient, name, argument);
    status.textContent = "in the log";
    status.textContent = (await outcome(alert.patient, stored)) || "in the log";
  } catch (error) {
    status.textContent = `not sent: ${error.message}`;
  }
}

/** The buttons for whoever may answer; a viewer gets none. */
export function answers(alert) {
  const status = el("span", { class: "status", role: "status" });
  if (!state.who || state.who.role === "viewer") return el("div", { class: "answers" }, status);
  const target = { alert: alert.alert_id };
  const button = (text, name, argument) =>
    el("button", { type: "button", "data-command": name, onclick: () => ask(alert, name, argument(), status) }, text);
  const to = el("input", { "aria-label": "Hand over to", placeholder: "hand over to", size: 14, maxlength: 128 });
  const buttons = [];
  if (alert.state !== "acknowledged") buttons.push(button("Acknowledge", "ack", () => target));
  for (const seconds of SNOOZES[alert.priority] ?? []) {
    buttons.push(button(`Snooze ${age(seconds * 1000)}`, "snooze", () => ({ ...target, for_s: seconds })));
  }
  const over = el(
    "form",
    { onsubmit: (event) => (event.preventDefault(), to.value.trim() && ask(alert, "handover", { to: to.value.trim() }, status)) },
    to,
    el("button", { type: "submit" }, "Hand over"),
  );
  return el("div", { class: "answers" }, ...buttons, over, status);
}

/** What somebody types into a card is theirs, also when the alert goes on meanwhile. */
function carry(old, card) {
  const [typed, input] = [old.querySelector("input"), card.querySelector("input")];
  if (typed && input) input.value = typed.value;
  return document.activeElement === typed ? input : old.contains(document.activeElement) ? card : null;
}

/** Puts the cards of alerts into a list, in order. Those of alerts that did not change stay, and so does the focus. */
export function arrange(list, alerts, make) {
  let focus = list.contains(document.activeElement) ? document.activeElement : null;
  const before = [...list.children];
  const cards = alerts.map((alert) => {
    const old = before.find((one) => one.dataset.alert === alert.alert_id);
    if (old?.dataset.transition === String(alert.transition)) return old;
    const card = make(alert);
    Object.assign(card.dataset, { alert: alert.alert_id, state: alert.state, transition: alert.transition });
    card.tabIndex = -1;
    if (old) focus = carry(old, card) ?? focus;
    return card;
  });
  if (!cards.length) cards.push(el("li", { class: "empty" }, "No alert stands."));
  for (const one of before) if (!cards.includes(one)) one.remove();
  cards.forEach((card, at) => list.children[at] === card || list.insertBefore(card, list.children[at] ?? null));
  if (focus?.isConnected && document.activeElement !== focus) focus.focus();
}

/** Since when it lasts. */
export const since = (alert) => el("span", {}, moment(alert.onset_ns), ", ", ago(alert.onset_ns, serverNow()));
