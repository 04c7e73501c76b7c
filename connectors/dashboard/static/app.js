// The frame of every page: navigation, clock, sound, theme, the banner that says that what is shown is old, the key.

import { get, post } from "./api.js";
import { age, el, when } from "./format.js";
import { inbox } from "./inbox.js";
import { patient } from "./patient.js";
import { label, press, sound } from "./sound.js";
import { alertsOf, connect, listen, ofPipeline, serverNow, state, trouble, unanswered } from "./store.js";
import { strips } from "./strips.js";
import { counters } from "./sweep.js";
import { technical } from "./technical.js";
import { ward } from "./ward.js";

const main = document.getElementById("main");
const [banner, clock, count] = ["banner", "clock", "alert-count"].map((id) => document.getElementById(id));
const PAGES = { "": ward, strips, alerts: inbox, technical };
let leave = null;

function route() {
  const [page, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  leave?.();
  main.className = page || "ward";
  const open = page === "patient" && rest[0] ? (node) => patient(node, decodeURIComponent(rest[0])) : (PAGES[page] ?? ward);
  leave = open(main);
  document.title = `${page === "patient" ? decodeURIComponent(rest[0]) : page || "ward"} · vitals`;
  for (const link of document.querySelectorAll("nav a[data-page]")) {
    if (link.dataset.page === (page || "ward")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const SAYS = {
  stale: () => `NO DATA FROM THE SERVER for ${age(performance.now() - state.lastMessage)}: what you see is old. Trying to connect again.`,
  upstream: () => "THE SERVER HAS LOST NATS: what you see is old.",
  flow: () => `THE PIPELINE STANDS STILL for ${age(state.upstream.flow.stale_s * 1000)}: no alert can be raised now (${state.upstream.flow.says}).`,
  pipeline: () => `THE PIPELINE IS SILENT: no alert can be raised now. ${ofPipeline()[0]?.text ?? ""}`,
};

function refresh() {
  const found = trouble();
  banner.hidden = !found;
  const text = found && (SAYS[found]?.() ?? found);
  if (banner.textContent !== text) banner.textContent = text;
  document.body.classList.toggle("stale", ["stale", "upstream"].includes(found));
  clock.textContent = when(serverNow() * 1e6, serverNow());
  const open = alertsOf().filter(unanswered);
  count.hidden = !open.length;
  count.textContent = open.length;
  count.dataset.source = "/alerts?state=standing#alerts|count:open";
  count.dataset.priority = open[0]?.priority ?? "";
  count.setAttribute("aria-label", `${open.length} unanswered`);
  document.getElementById("sound").textContent = label();
}

function announce(alert) {
  if (alert && unanswered(alert) && alert.tenant !== "tick") {
    document.getElementById("said").textContent = `${alert.priority} alert, ${alert.patient}: ${alert.text || alert.rule}`;
  }
}

function theme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => (button.textContent = dark() ? "Light" : "Dark");
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    show();
    // Inks of canvases are read when they are made.
    route();
  });
  show();
}

/** Asks for the key, where the server wants one. */
function keyForm(reason) {
  const input = el("input", { type: "password", required: true, autocomplete: "current-password", id: "key" });
  const said = el("p", { class: "problem", role: "status" }, reason);
  const form = el("form", { class: "key" }, el("h1", {}, "vitals"), el("label", { for: "key" }, "Key"), input, el("button", { type: "submit" }, "Enter"), said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("/session", { key: input.value });
      begin();
    } catch (error) {
      said.textContent = error.message;
    }
  });
  main.replaceChildren(form);
  input.focus();
}

/** g then w, s, a, t: the pages. */
function keyboard() {
  let goes = false;
  const pages = { w: "#/", s: "#/strips", a: "#/alerts", t: "#/technical" };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (goes && pages[event.key]) location.hash = pages[event.key];
    goes = event.key === "g";
  });
}

async function begin() {
  try {
    // Known before a page is drawn: a viewer gets no forms, not even for a moment.
    state.who = await get("/me");
  } catch (error) {
    if (error.status === 401) return keyForm("");
  }
  state.lastMessage = performance.now();
  connect();
  listen((kind, alert) => (kind === "alert" && announce(alert), kind !== "wave" && refresh()));
  setInterval(refresh, 250);
  addEventListener("hashchange", route);
  document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), main.focus()));
  route();
}

document.getElementById("sound").addEventListener("click", () => (press(), refresh()));
theme();
keyboard();
begin();

// For tests and for whoever looks at the console.
window.vitals = { state, counters, sound, trouble };
