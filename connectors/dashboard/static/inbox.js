// Every alert that stands, the most urgent first, with the buttons that answer it.

import { answers, arrange, badge, sentence, since, standing } from "./alertview.js";
import { el, figure, named } from "./format.js";
import { alertsOf, listen, unanswered } from "./store.js";

const card = (alert) =>
  el(
    "li",
    { class: `alert-card ${alert.priority}`, "data-rule": alert.rule, "data-patient": alert.patient },
    el("div", {}, badge(alert), " ", el("a", { href: `#/patient/${encodeURIComponent(alert.patient)}` }, named(alert.patient)), " ", el("strong", {}, sentence(alert))),
    el("p", { class: "meta" }, since(alert), "; ", standing(alert)),
    answers(alert),
  );

export function inbox(main) {
  const list = el("ul", { class: "alerts" });
  const summary = el("p", { class: "meta", role: "status" });
  main.replaceChildren(el("h1", {}, "Alerts"), summary, list);
  let key = null;
  const refresh = () => {
    const found = alertsOf();
    const now = found.map((one) => `${one.alert_id}.${one.transition}`).join();
    if (now === key) return;
    key = now;
    const open = found.filter(unanswered).length;
    const count = (number, which) => figure(number, `/alerts?state=standing#alerts|count:${which}`);
    summary.replaceChildren(...(found.length ? [count(open, "open"), " wait for an answer, ", count(found.length - open, "answered"), " answered"] : []));
    arrange(list, found, card);
  };
  const stop = listen((kind) => ["alert", "state"].includes(kind) && refresh());
  refresh();
  return stop;
}
