// A strip as a monitor draws it: a pen that moves at 25 mm/s from left to right and wipes what is before it.
//
// Each frame says when its samples were taken; the pen follows that time, late by the longest way a frame has lately
// taken. A longer way stops it for a moment, and what came behind it is drawn in its place; when the ways are short again
// it makes up for that a little faster than life, never by a leap. What is missing or invalid is left empty: a gap stays
// a gap.

export const MM_PER_S = 25;
export const PX_PER_MM = 96 / 25.4;
const PX_PER_S = MM_PER_S * PX_PER_MM;
const WIPE_PX = 16;
const MARGIN_MS = 150;
const LAGS = 30;
const CATCH_UP = 1.05;
const INVALID = -32768;
const MM_PER_MV = 10;
const NS_PER_MS = 1e6;

const running = new Set();
export const counters = {
  frames: 0,
  samples: 0,
  marks: 0,
  gaps: 0,
  waits: 0,
  get pens() {
    return [...running].filter((sweep) => sweep.penMs !== null).length;
  },
};

function loop() {
  counters.frames += 1;
  for (const sweep of running) sweep.draw();
  requestAnimationFrame(loop);
}
requestAnimationFrame(loop);

export class Sweep {
  /** Draws on `canvas`; `signal` decides the scale: leads 10 mm/mV, everything else by its own range. */
  constructor(canvas, signal) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.isEcg = signal.startsWith("ecg");
    this.frames = [];
    this.marks = [];
    this.lags = [];
    this.penMs = null;
    this.fromMs = 0;
    this.drawnMs = 0;
    this.last = null;
    this.range = null;
    this.ranges = [];
    this.resize = new ResizeObserver(() => this.fit());
    this.resize.observe(canvas);
    this.fit();
    running.add(this);
  }

  stop() {
    running.delete(this);
    this.resize.disconnect();
  }

  fit() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.context.scale(ratio, ratio);
    this.last = null;
    const style = getComputedStyle(this.canvas);
    this.ink = style.color;
    this.markInk = style.getPropertyValue("--mark").trim() || this.ink;
  }

  push(frame) {
    const startMs = frame.ts_ns / NS_PER_MS;
    const lengthMs = (frame.counts.length / frame.fs_hz) * 1000;
    // Frames that were kept for the opening of a strip say nothing of how long the way is.
    if (!frame.kept) this.lags = [...this.lags.slice(1 - LAGS), Date.now() - startMs];
    this.frames.push({ ...frame, startMs, endMs: startMs + lengthMs, next: 0 });
    this.frames.sort((a, b) => a.startMs - b.startMs);
    if (!this.isEcg) this.learn(frame);
  }

  mark(tsNs) {
    this.marks.push(tsNs / NS_PER_MS);
  }

  /** The range of what is no ECG, which has no unit: of the last frames; widened at once, narrowed when the pen turns. */
  learn(frame) {
    let [low, high] = [Infinity, -Infinity];
    for (const count of frame.counts) {
      if (count === INVALID) continue;
      low = Math.min(low, count);
      high = Math.max(high, count);
    }
    if (high <= low) return;
    this.ranges = [...this.ranges.slice(1 - LAGS), [low, high]];
    const [a, b] = this.range ?? [low, high];
    this.range = [Math.min(low, a), Math.max(high, b)];
  }

  /** Forgets extremes that are no longer among the last frames. */
  narrow() {
    if (this.ranges.length) this.range = [Math.min(...this.ranges.map(([low]) => low)), Math.max(...this.ranges.map(([, high]) => high))];
  }

  y(count, lsb) {
    if (this.isEcg) return this.height * 0.6 - count * lsb * MM_PER_MV * PX_PER_MM;
    const [low, high] = this.range ?? [0, 1];
    return this.height * 0.9 - ((count - low) / (high - low || 1)) * this.height * 0.8;
  }

  /** How much of the past is on the strip. */
  visibleMs() {
    return ((this.width - WIPE_PX) / PX_PER_S) * 1000;
  }

  x(ms) {
    return ((ms / 1000) * PX_PER_S) % this.width;
  }

  draw() {
    if (!this.lags.length) return;
    const now = Date.now();
    const due = now - Math.max(...this.lags) - MARGIN_MS;
    const begins = this.penMs === null || Math.abs(due - this.penMs) > (this.width / PX_PER_S) * 1000;
    if (begins) this.begin(due);
    const target = begins ? due : Math.max(this.penMs, Math.min(due, this.penMs + (now - this.drawnMs) * CATCH_UP));
    if (due < this.penMs) counters.waits += 1;
    this.drawnMs = now;
    if (!this.isEcg && this.x(target) < this.x(this.penMs)) this.narrow();
    this.wipe(target);
    const oldest = target - this.visibleMs();
    this.line(Math.max(oldest, this.fromMs), target);
    this.drawMarks(oldest, target);
    this.penMs = target;
    this.frames = this.frames.filter((frame) => frame.endMs > target);
  }

  /** First frame, the page slept, or a clock was set: fills the strip from its oldest visible moment. */
  begin(due) {
    this.penMs = this.fromMs = Math.max(due - this.visibleMs(), Math.min(this.frames[0]?.startMs ?? due, due));
    this.context.clearRect(0, 0, this.width, this.height);
    this.last = null;
  }

  wipe(target) {
    const from = this.x(this.penMs);
    const length = ((target - this.penMs) / 1000) * PX_PER_S + WIPE_PX;
    this.context.clearRect(from, 0, length, this.height);
    if (from + length > this.width) this.context.clearRect(0, 0, from + length - this.width, this.height);
  }

  /** What has come since and was taken from `oldest` to `target`, also behind the pen. */
  line(oldest, target) {
    const { context } = this;
    context.strokeStyle = this.ink;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let last = this.last;
    if (last) context.moveTo(last.x, last.y);
    for (const frame of this.frames) {
      const stepMs = 1000 / frame.fs_hz;
      while (frame.next < frame.counts.length) {
        const ms = frame.startMs + frame.next * stepMs;
        if (ms > target) break;
        const count = frame.counts[frame.next];
        frame.next += 1;
        if (ms < oldest) continue;
        if (count === INVALID) {
          last = null;
          continue;
        }
        const [x, y] = [this.x(ms), this.y(count, frame.lsb)];
        const joined = last && ms > last.ms && x >= last.x && ms - last.ms < 1.5 * stepMs;
        if (joined) context.lineTo(x, y);
        else {
          if (last && ms - last.ms >= 1.5 * stepMs) counters.gaps += 1;
          context.moveTo(x, y);
        }
        last = { x, y, ms };
        counters.samples += 1;
      }
    }
    context.stroke();
    this.last = last;
  }

  /** R peaks: a wedge at the top edge, as soon as the pen is past the place. */
  drawMarks(oldest, target) {
    const waiting = [];
    this.context.fillStyle = this.markInk;
    for (const ms of this.marks) {
      if (ms > target - 60) waiting.push(ms);
      else if (ms > oldest) {
        const x = this.x(ms);
        this.context.beginPath();
        this.context.moveTo(x - 4, 2);
        this.context.lineTo(x + 4, 2);
        this.context.lineTo(x, 10);
        this.context.fill();
        counters.marks += 1;
      }
    }
    this.marks = waiting;
  }
}

/** Draws a strip of the past at the same scale; `frames` as the API gives them, `mark` ms to point at. */
export function drawStill(canvas, signal, frames, fromMs, toMs) {
  const sweep = Object.create(Sweep.prototype);
  Object.assign(sweep, { canvas, context: canvas.getContext("2d"), isEcg: signal.startsWith("ecg"), range: null, ranges: [] });
  canvas.style.width = `${Math.ceil(((toMs - fromMs) / 1000) * PX_PER_S)}px`;
  sweep.fit();
  const whole = frames.map((frame) => ({
    ...frame,
    startMs: frame.ts_ns / NS_PER_MS,
    next: 0,
    counts: Int16Array.from(frame.samples, (value) => (value == null ? INVALID : Math.round(value / frame.lsb))),
  }));
  if (!sweep.isEcg) whole.forEach((frame) => sweep.learn(frame));
  sweep.x = (ms) => ((ms - fromMs) / 1000) * PX_PER_S;
  Object.assign(sweep, { frames: whole, last: null });
  sweep.line(fromMs, toMs);
}
