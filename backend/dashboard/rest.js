// What the page asks of the API, with a key where one is needed.

import { bearer } from "/static/access.js";

export class ProblemError extends Error {} // it answers, and says what is wrong

export class NeedsKeyError extends ProblemError {}

export async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json", ...bearer() } });
  const body = await answer.json();
  if (answer.ok) return body.data;
  throw new (answer.status === 401 ? NeedsKeyError : ProblemError)(body.detail);
}

export async function panels(names) {
  if (!names.length) return [];
  return ask(`/v1/dashboard?${new URLSearchParams({ panel: names.join() })}`);
}
