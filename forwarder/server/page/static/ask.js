// The daemon is asked: relative addresses, so that a proxy may put the page where it likes.

export class Refused extends Error {
  constructor(status, said) {
    super(said);
    this.status = status;
  }
}

async function fetched(path, options = {}) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(15000), ...options });
  if (!answer.ok) throw new Refused(answer.status, (await answer.text()).trim());
  return answer.json();
}

export const ask = (path) => fetched(path);

export const act = (path, body) => fetched(path, {
  method: "POST",
  headers: { "content-type": "application/json", "x-forwarder-action": "1" },
  body: JSON.stringify(body),
});
