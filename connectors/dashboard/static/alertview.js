// An alert on the screen: its badge, its sentence, the buttons that answer it.

import { command, get } from "./api.js";
import { age, el, number, unit, when, words } from "./format.js";
import { serverNow, state, unanswered } from "./store.js";

// Shape and word say the priority, colour only repeats it.
const SHAPE = { high: "▲▲▲", medium: "▲▲", low: "▲" };
const SNOOZES = { high: [120], medium: [300, 1800], low: [1800, 14400] };

export function badge(alert) {
  const shape = el("span", { "aria-hidden": "true" }, SHAPE[alert.priority]);
  return el("span", { class: `badge ${alert.priority} ${unanswered(alert) ? "open" : "answered"}` }, shape, ` ${alert.priority}`);
}

export function sentence(alert) {
  // The last value of a condition that is over is a good one, and would contradict the sentence.
  if (alert.condition === false) return `${alert.text || words(alert.rule)} (over)`;
  const measured = alert.value == null ? "" : `${number(alert.code, alert.value)} ${unit(alert.unit)}`.trim();
  const limit = alert.limit == null ? "" : ` (limit ${number(alert.code, alert.limit)})`;
  return `${alert.text || words(alert.rule)}${measured ? `: ${measured}${limit}` : ""}`;
}

/** Where it stands, in words. */
export function standing(alert) {
  const said = [alert.state === "raised" ? "active" : alert.state];
  if (alert.level > 1) said.push(`level ${alert.level}`);
  if (alert.until_ns) said.push(`until ${when(alert.until_ns)}`);
  if (alert.actor) said.push(`by ${alert.actor}`);
  if (alert.responsible) said.push(`responsible: ${alert.responsible}`);
  if (alert.condition === false) said.push("condition is over");
  return said.join(", ");
}

/** Sends a command and shows what becomes of it: the transition comes by itself, a refusal has to be looked up. */
async function ask(alert, name, argument, status) {
  status.textContent = "sending";
  try {
    const stored = await command(alert.patient, name, argument);
    status.textContent = "in the log";
    setTimeout(async () => {
      if (!status.isConnected) return;
      const { commands } = await get(`/patients/${alert.patient}/commands`, { limit: 20 });
      const found = commands.find((one) => one.log_seq === stored.log_seq);
      if (found?.result === "refused") status.textContent = `refused: ${found.reason}`;
    }, 3000);
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

/** Since when it lasts. */
export const since = (alert) => `${when(alert.onset_ns)}, ${age(serverNow() - alert.onset_ns / 1e6)} ago`;
