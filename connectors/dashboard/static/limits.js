// The limits of a patient: every rule that has one, as it is now, changed as a set and sent as one command a rule.

import { command, eventually, get, outcome } from "./api.js";
import { el, figure, named, said, unit, words } from "./format.js";

const FIRST_PROFILE = "adult";

/**
 * Rules of the patient's profile with what was changed for him on top, changed ones first; and the profile. `current`
 * says whether they are no older than a command that was done: the record of what became of it may be there before them.
 */
async function read(patient, logSeq) {
  const path = `/patients/${encodeURIComponent(patient)}/limits`;
  const since = (answer) => !logSeq || answer.limits.some((row) => row.log_seq >= logSeq);
  const answer = await eventually(() => get(path), since);
  const { limits } = answer;
  const newest = limits.reduce((last, row) => (row.version >= (last?.version ?? 0) ? row : last), null);
  const { rules, profile, profiles } = await get("/rules", { profile: newest?.profile || FIRST_PROFILE });
  const own = new Map(limits.filter((row) => row.source === "command").map((row) => [row.rule, row]));
  const rows = rules.filter((rule) => rule.least != null).map((rule) => {
    const changed = own.get(rule.rule);
    const from = (field, otherwise) => (changed?.[field] == null ? `/rules?profile=${profile}#rules/rule=${rule.rule}/${otherwise}` : `${path}#limits/rule=${rule.rule}/${field}`);
    return {
      ...rule,
      limit: changed?.limit_value ?? rule.limit,
      delay_s: changed?.delay_s ?? rule.delay_s,
      sources: { limit: from("limit_value", "limit"), delay_s: from("delay_s", "delay_s"), least: from("", "least"), greatest: from("", "greatest") },
      by: changed?.actor ?? "",
      changed: Boolean(changed),
    };
  });
  const scale = limits.find((row) => row.rule === "spo2_scale");
  return { current: since(answer), profile, profiles, scale: scale && { value: scale.limit_value, source: `${path}#limits/rule=spo2_scale/limit_value` }, rows: rows.sort((a, b) => b.changed - a.changed) };
}

/** A number that may be changed, or that is only told. */
function cell(row, field, may, bounds) {
  const value = row[field];
  if (!may) return [value == null ? "–" : figure(value, row.sources[field])];
  const input = el("input", { type: "number", step: "any", name: field, value, ...bounds, "aria-label": `${words(row.rule)}: ${field === "limit" ? "limit" : "delay in s"}` });
  if (value != null) input.dataset.source = row.sources[field];
  return [input];
}

function tableRow(row, may) {
  const limit = cell(row, "limit", may, { min: row.least, max: row.greatest, placeholder: row.limit == null ? "its own" : null });
  const delay = row.delay_s == null ? [] : [...cell(row, "delay_s", may, { min: 0 }), " s"];
  const range = [figure(row.least, row.sources.least), " to ", figure(row.greatest, row.sources.greatest)];
  const rule = [el("strong", {}, named(words(row.rule))), el("br"), el("span", { class: "label" }, row.text)];
  const from = row.changed ? ["set by ", said(row.by)] : [];
  const cells = [rule, [...limit, " ", unit(row.unit)], delay, range, from];
  return el("tr", { "data-rule": row.rule }, ...cells.map((parts) => el("td", {}, ...parts)));
}

/** What the rows of a form say otherwise than before: arguments of commands. */
function asked(form) {
  return [...form.querySelectorAll("tr[data-rule]")].flatMap((line) => {
    const [limit, delay] = ["limit", "delay_s"].map((name) => line.querySelector(`[name=${name}]`));
    const same = [limit, delay].every((input) => !input || input.value === input.defaultValue);
    if (same || limit.value === "") return [];
    return [{ rule: line.dataset.rule, limit: Number(limit.value), ...(delay ? { delay_s: Number(delay.value) } : {}) }];
  });
}

/** Sends commands one after the other; says in words what became of all of them, and the place of the last one done. */
async function send(patient, name, all, label) {
  const became = { done: [], open: [], refused: [], logSeq: 0 };
  for (const argument of all) {
    try {
      const stored = await command(patient, name, argument);
      const answer = await outcome(patient, stored);
      if (answer.startsWith("refused")) became.refused.push(answer);
      else (answer ? became.done : became.open).push(label(argument));
      if (answer === "done") became.logSeq = stored.log_seq;
    } catch (error) {
      became.refused.push(`not sent: ${error.message}`);
    }
  }
  const list = (head, all) => (all.length ? [`${head}: ${all.join(", ")}`] : []);
  const told = [...list("done", became.done), ...list("in the log, and not known yet what became of it", became.open), ...became.refused];
  return { told, logSeq: became.logSeq };
}

function profileForm(patient, { profile, profiles }, submit) {
  const select = el("select", { "aria-label": "Profile" }, ...profiles.map((one) => el("option", { value: one.profile, selected: one.profile === profile }, `${words(one.profile)}: ${one.text}`)));
  const form = el("form", {}, select, el("button", { type: "submit" }, "Use profile"));
  form.addEventListener("submit", submit(() => send(patient, "profile", [{ profile: select.value }], (one) => one.profile)));
  return form;
}

/** The editor, or for who may not change anything the same without forms; read anew after a change. */
export function limitEditor(patient, may) {
  const [body, status] = [el("div"), el("p", { role: "status", class: "status", "data-words": true })];
  const submit = (work) => async (event) => {
    event.preventDefault();
    status.textContent = "sending";
    const { told, logSeq } = await work();
    if (!(await show(logSeq))) told.push("the limits above are those of before: the database does not have the new ones yet");
    status.textContent = told.join("; ") || "nothing was changed";
  };
  async function show(logSeq = 0) {
    const found = await read(patient, logSeq);
    const head = el("tr", {}, ...["Rule", "Limit", "Delay", "From, to", "Changed"].map((text) => el("th", { scope: "col" }, text)));
    const rows = found.rows.map((row) => tableRow(row, may));
    const table = el("div", { class: "scroll tall", tabindex: 0 }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
    const scale = found.scale ? [el("span", { class: "label" }, ", NEWS2 scores SpO₂ on scale "), figure(found.scale.value, found.scale.source)] : [];
    const told = el("p", {}, "Profile: ", el("strong", {}, words(found.profile)), ...scale);
    if (!may) {
      body.replaceChildren(told, table);
      return found.current;
    }
    const form = el("form", { class: "limits" }, table, el("button", { type: "submit" }, "Set changed limits"));
    form.addEventListener("submit", submit(() => send(patient, "threshold", asked(form), (one) => `${words(one.rule)} ${one.limit}`)));
    body.replaceChildren(told, profileForm(patient, found, submit), form);
    return found.current;
  }
  return { node: el("div", {}, body, status), show };
}
