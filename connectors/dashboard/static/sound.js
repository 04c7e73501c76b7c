// Sounds by priority, in the bursts of IEC 60601-1-8: ten pulses, three, one. A mute ends by itself after two minutes,
// and at once when a new alert of high priority comes.

import { alertsOf, listen, unanswered } from "./store.js";

export const MUTE_MS = 120_000;
const PATTERNS = {
  high: { hz: 660, pulses: [0, 0.2, 0.4, 0.75, 0.95, 1.6, 1.8, 2.0, 2.35, 2.55], length: 0.14, everyMs: 7000 },
  medium: { hz: 520, pulses: [0, 0.3, 0.6], length: 0.2, everyMs: 12_000 },
  low: { hz: 440, pulses: [0], length: 0.25, everyMs: 25_000 },
};

export const sound = { on: false, mutedUntil: 0, bursts: 0 };
let context = null;
let next = 0;
const known = new Set();

function burst({ hz, pulses, length }) {
  sound.bursts += 1;
  for (const at of pulses) {
    const [tone, gain] = [context.createOscillator(), context.createGain()];
    const from = context.currentTime + at;
    tone.frequency.value = hz;
    gain.gain.setValueAtTime(0, from);
    gain.gain.linearRampToValueAtTime(0.25, from + 0.02);
    gain.gain.setValueAtTime(0.25, from + length - 0.03);
    gain.gain.linearRampToValueAtTime(0, from + length);
    tone.connect(gain).connect(context.destination);
    tone.start(from);
    tone.stop(from + length);
  }
}

/** On, then muted for two minutes, then on: one button. Browsers let a page sound only after somebody pressed something. */
export function press() {
  if (!sound.on) {
    context ??= new AudioContext();
    context.resume();
    sound.on = true;
    next = 0;
  } else if (muted()) sound.mutedUntil = 0;
  else sound.mutedUntil = performance.now() + MUTE_MS;
}

export const muted = () => performance.now() < sound.mutedUntil;

/** What the button says. */
export function label() {
  if (!sound.on) return "Turn sound on";
  if (muted()) return `Muted for ${Math.ceil((sound.mutedUntil - performance.now()) / 1000)} s`;
  return "Mute for 2 min";
}

function beat() {
  const open = alertsOf().filter(unanswered);
  for (const alert of open) {
    const fresh = !known.has(alert.alert_id);
    known.add(alert.alert_id);
    if (fresh && alert.priority === "high") [sound.mutedUntil, next] = [0, 0];
  }
  if (!sound.on || muted() || !open.length || performance.now() < next) return;
  const pattern = PATTERNS[open[0].priority];
  next = performance.now() + pattern.everyMs;
  burst(pattern);
}

listen((kind) => kind === "alert" && beat());
setInterval(beat, 500);
