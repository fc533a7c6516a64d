// The parts of the page that are lists: instruments, predictions, signals, scores, coverage, latency.

import { $, el, odds, show, svg, table } from "/static/dom.js";
import { count, figure, inWords, known, milliseconds, moment, nameOf, percent, price, signed } from "/static/words.js";

const side = (row) => el("span", { class: `side ${row.side}` }, row.side);

const codes = (row) => (row?.degraded ?? []).map((code) =>
  el("span", { class: "code", title: inWords(code) }, code));

const behind = (row, newest) => (row.as_of < newest ? el("span", { class: "code" }, moment(row.as_of)) : null);

function advice(signal, prediction) {
  if (signal && signal.side !== "flat") return side(signal);
  const reason = signal?.gate || prediction?.degraded?.[0];
  return el("span", {}, reason ? `flat: ${inWords(reason)}` : "no advice yet");
}

export function instruments(market, selected, choose) {
  const rows = market.instruments.map((instrument) => {
    const name = nameOf(instrument);
    const { candle, prediction, signal } = market.of(name);
    const change = candle ? candle.close / candle.open - 1 : null;
    const current = name === selected;
    return el("button", { class: "instrument", type: "button", "aria-current": current, "data-name": name,
        onclick: () => choose(name) },
      el("b", {}, instrument.symbol),
      el("span", { class: "price" }, price(candle?.close), " ",
        el("span", { class: change > 0 ? "up small" : change < 0 ? "down small" : "quiet small" }, known(change) ? signed(change) : "")),
      prediction ? odds(prediction) : null,
      el("span", { class: "why" }, advice(signal, prediction), el("span", {}, known(prediction?.volatility) ? `σ ${percent(prediction.volatility)}` : "")));
  });
  const focused = document.activeElement?.dataset?.name;
  show("instruments", ...rows);
  if (focused) $("instruments").querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

export function predictions(market, selected) {
  const rows = market.instruments.map((instrument) => ({ instrument, ...market.of(nameOf(instrument)) }))
    .filter(({ prediction }) => prediction);
  if (!rows.length) return;
  const newest = rows.map(({ prediction }) => prediction.as_of).sort().at(-1);
  show("predictions", table(
    ["Instrument", "Down", "Flat", "Up", "", "10 %", "Median", "90 %", "Volatility", "Signal", "Marks"],
    rows.map(({ instrument, prediction: row, signal }) => ({
      kind: nameOf(instrument) === selected ? "selected" : "",
      cells: [el("span", { title: `as of ${row.as_of}` }, instrument.symbol), percent(row.p_down, 1), percent(row.p_flat, 1), percent(row.p_up, 1), odds(row),
        signed(row.q10), signed(row.q50), signed(row.q90), percent(row.volatility), advice(signal, row), el("span", {}, ...[behind(row, newest)].filter(Boolean), ...codes(row))],
    })), { 9: "text", 10: "text" }));
  const marked = rows.filter(({ prediction }) => prediction.degraded.length).length;
  $("predictions-note").textContent = `as of ${moment(newest)} · ` + (marked ? `${marked} of ${rows.length} degraded` : `none of ${rows.length} degraded`);
}

export function feed(events, market) {
  const shown = events.filter(({ row }) => row.side !== "flat").slice(0, 80);
  const newest = market.instruments.map((one) => market.of(nameOf(one)).signal).filter(Boolean);
  const gates = new Map();
  for (const row of newest) if (row.side === "flat") gates.set(row.gate, (gates.get(row.gate) ?? 0) + 1);
  const flat = [...gates.entries()].sort((a, b) => b[1] - a[1]).map(([gate, n]) => `${n} ${inWords(gate)}`);
  $("feed-note").textContent = newest.length ? `${newest.length - [...gates.values()].reduce((a, b) => a + b, 0)} of ${newest.length} take a side` : "";
  const why = flat.length ? el("p", { class: "empty small" }, `Flat now: ${flat.join(", ")}`) : null;
  const rows = shown.map(({ event, row, ts, fresh }) => el("div", { class: fresh ? "event fresh" : "event" },
    side(row), el("b", {}, row.symbol),
    el("span", { class: row.realized_return > 0 ? "up" : row.realized_return < 0 ? "down" : "" },
      known(row.realized_return) ? signed(row.realized_return) : row.status.replace("_", " ")),
    el("span", { class: "quiet" }, detail(event, row, ts))));
  show("feed", ...(why ? [why] : []), ...(rows.length ? rows : [el("p", { class: "empty" }, "No signal has taken a side yet")]));
}

function detail(event, row, ts) {
  const what = event === "closed" || row.closed_at ? row.status.replace("_", " ") : `until ${moment(row.expires_at)}`;
  const entry = known(row.entry_price) ? ` · in ${price(row.entry_price)}` : "";
  const exit = known(row.exit_price) ? ` out ${price(row.exit_price)}` : known(row.stop) ? `, stop ${price(row.stop)}, take ${price(row.take)}` : "";
  return `${moment(ts)} · ${what}${entry}${exit}`;
}

const ORDER = { champion: 0, challenger: 1, member: 2 };

export function scores(rows) {
  if (!rows?.length) return;
  const sorted = [...rows].sort((a, b) => a.target.localeCompare(b.target) || a.origin.localeCompare(b.origin) * -1
    || ORDER[a.role] - ORDER[b.role] || (b.skill ?? -9) - (a.skill ?? -9));
  const widest = 1.15 * Math.max(0.01, ...sorted.flatMap((row) => row.skill_interval95 ?? [row.skill ?? 0]).map(Math.abs));
  show("scores", table(
    ["Model", "Role", "Target", "Record", "Count", "Effective", "Loss", "Baseline", "Skill", ""],
    sorted.map((row) => ({ kind: row.role === "champion" ? "served" : "", cells: [
      row.model, row.role, row.target, row.origin, count(row.count), count(row.effective_count), figure(row.loss),
      `${row.baseline.split(".")[0]} ${figure(row.baseline_loss)}`, known(row.skill) ? signed(row.skill) : "is the baseline",
      known(row.skill) ? whisker(row, Math.min(widest, 1)) : "",
    ] })), { 1: "text", 2: "text", 3: "text" }));
}

function whisker(row, widest) {
  const x = (value) => 65 + 60 * Math.max(-1, Math.min(1, value / widest));
  const interval = row.skill_interval95;
  const title = interval ? `${signed(row.skill)}, 95 %: ${signed(interval[0])} to ${signed(interval[1])}` : "too few days for an interval";
  const kind = !interval ? "" : interval[0] > 0 ? "above" : interval[1] < 0 ? "below" : "";
  const drawing = svg("svg", { class: `whisker ${kind}`, viewBox: "0 0 130 14", role: "img", "aria-label": title },
    svg("line", { class: "zero", x1: 65, x2: 65, y1: 0, y2: 14 }));
  if (!interval) return el("span", { class: "quiet small", title }, "no interval yet");
  drawing.append(svg("line", { x1: x(interval[0]), x2: x(interval[1]), y1: 7, y2: 7, "stroke-width": 2 }),
    svg("circle", { cx: x(row.skill), cy: 7, r: 3 }));
  const label = svg("title");
  label.textContent = title;
  drawing.append(label);
  return drawing;
}

export function coverage(rows) {
  if (!rows?.length) return;
  const expected = rows.reduce((sum, row) => sum + row.expected, 0);
  const present = rows.reduce((sum, row) => sum + row.present, 0);
  $("coverage-note").textContent = `${count(present)} of ${count(expected)} candles`;
  const worst = [...rows].sort((a, b) => (b.expected - b.present) - (a.expected - a.present));
  show("coverage", table(["Instrument", "Timeframe", "From", "To", "Missing", "Open gaps"], worst.map((row) => ({ cells: [
    row.symbol, row.timeframe, moment(row.first_close), moment(row.last_close),
    el("span", { class: row.expected > row.present ? "warn" : "" }, count(row.expected - row.present)), count(row.gaps),
  ] })), { 1: "text" }));
}

export function latency(rows) {
  if (!rows?.length) return;
  show("latency", table(["Stage", "Timeframe", "Median", "99 %", "Ticks"], rows.map((row) => ({ cells: [
    row.stage, row.timeframe, milliseconds(row.p50_us), milliseconds(row.p99_us), count(row.ticks),
  ] })), { 1: "text" }));
}
