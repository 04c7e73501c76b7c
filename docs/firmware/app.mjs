// Readings of an app over HTTP, without a library; `send` is `fetch` or a stand-in. Node 18 or a browser.
// tests/connectors/gateway/test_app.py runs it against a real gateway.

/** Sends readings until the gateway has them: what is not answered, or answered 429 or 503, is sent again unchanged. */
export async function sendReadings(url, key, observations, { send = fetch, attempts = 10 } = {}) {
  const body = JSON.stringify({ observations });
  for (let attempt = 1; ; attempt++) {
    let answer = null;
    try {
      answer = await send(`${url}/v1/observations`, {
        method: "POST",
        headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
        body,
      });
    } catch (error) {
      if (attempt >= attempts) throw error; // nobody answers
    }
    if (answer?.status === 202) return answer.json();
    if (answer && answer.status !== 429 && answer.status !== 503) {
      throw new Error(`refused: ${await answer.text()}`); // sent again it would be refused again
    }
    if (answer && attempt >= attempts) throw new Error(`still ${answer.status} after ${attempts} attempts`);
    const wait = Number(answer?.headers.get("Retry-After") ?? 1);
    await new Promise((done) => setTimeout(done, wait * 1000));
  }
}

if (typeof process !== "undefined" && import.meta.url === `file://${process.argv[1]}`) {
  const [url, key, json] = process.argv.slice(2);
  console.log(JSON.stringify(await sendReadings(url, key, JSON.parse(json))));
}
