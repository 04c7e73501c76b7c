// Strips of many patients, one lead each; and the set of sweeps that a page keeps for what arrives.

import { el, named } from "./format.js";
import { listen, state, watch } from "./store.js";
import { Sweep } from "./sweep.js";
import { load } from "./ward.js";

const MOST = 32;

/** ECG before pleth before the rest; lead II before other leads. */
export function preference(signal) {
  const wanted = ["ecg_ii", "ecg_mlii", "ecg_i", "ecg", "pleth", "abp", "resp"];
  const at = wanted.findIndex((name) => signal === name || (name === "ecg" && signal.startsWith("ecg")));
  return at < 0 ? wanted.length : at;
}

/** Makes a strip for what arrives; `place(header)` says where it goes, or null for nowhere. */
export function follow(place) {
  const sweeps = new Map();
  const stop = listen((kind, data) => {
    if (kind === "wave") {
      const key = `${data.patient}/${data.device}/${data.signal}`;
      if (!sweeps.has(key)) {
        const canvas = place(data);
        sweeps.set(key, canvas ? new Sweep(canvas, data.signal) : null);
      }
      sweeps.get(key)?.push(data);
    } else if (kind === "beats") {
      for (const beat of data.beats) {
        for (const [key, sweep] of sweeps) {
          const [patient, , signal] = key.split("/");
          if (sweep && patient === data.patient && signal === beat.signal) sweep.mark(beat.ts_ns);
        }
      }
    }
  });
  return () => (stop(), sweeps.forEach((sweep) => sweep?.stop()));
}

export function strips(main) {
  const wall = el("div", { class: "wall" });
  const empty = el("p", { class: "empty" }, "No patient sends a wave now.");
  main.replaceChildren(el("h1", { class: "visually-hidden" }, "Strips"), wall, empty);
  const canvases = new Map();
  const choose = () => {
    const tiles = [...state.tiles.values()].filter((tile) => tile.waves.length).slice(0, MOST);
    empty.hidden = tiles.length > 0;
    let changed = false;
    for (const tile of tiles) {
      if (canvases.has(tile.patient)) continue;
      const [wave] = [...tile.waves].sort((a, b) => preference(a.signal) - preference(b.signal));
      const canvas = el("canvas", { class: "strip small", role: "img", "aria-label": `${wave.signal} of ${tile.patient}, live` });
      const name = el("a", { href: `#/patient/${encodeURIComponent(tile.patient)}` }, named(tile.patient));
      wall.append(el("figure", {}, el("figcaption", {}, name, " ", named(wave.signal)), canvas));
      canvases.set(tile.patient, { canvas, signal: wave.signal, device: wave.device });
      changed = true;
    }
    if (changed) watch([...canvases.keys()]);
  };
  const unfollow = follow((wave) => {
    const found = canvases.get(wave.patient);
    return found && found.signal === wave.signal && found.device === wave.device ? found.canvas : null;
  });
  const stop = listen((kind) => ["board", "state"].includes(kind) && choose());
  load().then(choose, () => {});
  choose();
  return () => (stop(), unfollow(), watch([]));
}
