// Calls of the API. An error carries the sentence that the server gave.

const BASE = "api/v1";

/** Tenant of the page: `?tenant=` of its address; none for the key's own. */
export const tenant = new URLSearchParams(location.search).get("tenant");

function address(path, params = {}) {
  const query = new URLSearchParams(Object.entries({ tenant, ...params }).filter(([, value]) => value != null));
  return `${BASE}${path}${query.size ? `?${query}` : ""}`;
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.detail ?? `the server answered ${response.status}`), { status: response.status });
  return body;
}

export const get = async (path, params) => answer(await fetch(address(path, params)));

export const post = async (path, body) =>
  answer(await fetch(address(path), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

/** Sends a command; tried again once with the same key, which cannot have a second effect. */
export async function command(patient, name, argument) {
  const body = { idempotency_key: crypto.randomUUID(), argument };
  const path = `/patients/${encodeURIComponent(patient)}/commands/${name}`;
  try {
    return await post(path, body);
  } catch (error) {
    if (error.status && error.status !== 503) throw error;
    return post(path, body);
  }
}

const LOOKS = 40;
const LOOK_MS = 500;

/** Asks until the answer is right, for 20 s: the database has a thing some time after the log. Returns the last answer. */
export async function eventually(ask, right) {
  for (let look = 1; ; look += 1) {
    const found = await ask();
    if (look === LOOKS || right(found)) return found;
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}

/** What became of a command that is in the log: "done", or "refused: why"; "" where the record does not say in 20 s. */
export async function outcome(patient, stored) {
  const path = `/patients/${encodeURIComponent(patient)}/commands`;
  const mine = ({ commands }) => commands.find((one) => one.log_seq === stored.log_seq);
  const found = mine(await eventually(() => get(path, { limit: 20 }), mine));
  if (!found) return "";
  return found.result === "refused" ? `refused: ${found.reason}` : "done";
}

export function liveAddress() {
  const url = new URL(address("/live"), location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
