// Small things that several views show of signals and predictions.

import { el } from "/static/dom.js";
import { inWords, known, meaning, moment, percent, price } from "/static/words.js";

export const side = (row) => el("span", { class: `side ${row.side}` }, row.side);

export const codes = (row) => (row?.degraded ?? []).map((code) =>
  el("span", { class: "code", title: `${code}: ${meaning(code)}` }, inWords(code)));

// side, why it is flat, what that means
export function gist(signal, prediction) {
  if (!signal) return ["", prediction?.degraded[0] ? inWords(prediction.degraded[0]) : "no signal yet", ""];
  if (signal.side !== "flat") return [signal.side, signal.status.replaceAll("_", " "), `until ${moment(signal.expires_at)}`];
  return ["flat", inWords(signal.gate), meaning(signal.gate)];
}

// gate → of how many of the newest signals, the most first
export function gates(newest) {
  const counted = new Map();
  for (const row of newest) if (row.side === "flat") counted.set(row.gate, (counted.get(row.gate) ?? 0) + 1);
  return [...counted.entries()].sort((a, b) => b[1] - a[1]);
}

// What a signal with a side is about, in pieces.
export function detail(row, at) {
  const entry = known(row.entry_price) ? `in ${price(row.entry_price)}` : "enters at the next open";
  if (row.closed_at) return [`${moment(at)} · ${row.status.replaceAll("_", " ")}`, known(row.entry_price) ? `${entry}, out ${price(row.exit_price)}` : "never entered"];
  const ends = known(row.stop) ? [`stop ${price(row.stop)}, take ${price(row.take)}`] : [];
  const edge = known(row.expected_edge_bps) ? [`size ${percent(row.size_fraction, 1)}, edge ${row.expected_edge_bps.toFixed(0)} bp`] : [];
  return [`${moment(row.as_of)} until ${moment(row.expires_at)}`, entry, ...ends, ...edge];
}

export const held = (row) => el("span", {}, row.status.replaceAll("_", " "), row.closed_at
  ? el("span", { class: "quiet" }, ` ${moment(row.closed_at)}`) : el("span", { class: "quiet" }, ` until ${moment(row.expires_at)}`));
