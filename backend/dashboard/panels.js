// The parts of the page that are lists: instruments, predictions, signals, scores, coverage, latency.

import { $, el, odds, show, svg, table } from "/static/dom.js";
import {
  count, figure, inWords, known, meaning, milliseconds, moment, nameOf, percent, price, seconds, signed, span, stepOf,
} from "/static/words.js";

const side = (row) => el("span", { class: `side ${row.side}` }, row.side);

const codes = (row) => (row?.degraded ?? []).map((code) =>
  el("span", { class: "code", title: `${code}: ${meaning(code)}` }, inWords(code)));

const behind = (row, newest) => (row.as_of < newest ? el("span", { class: "code" }, moment(row.as_of)) : null);

function advice(signal, prediction) {
  if (signal && signal.side !== "flat") return side(signal);
  const reason = signal?.gate || prediction?.degraded?.[0];
  return el("span", { title: reason ? meaning(reason) : undefined }, reason ? `flat: ${inWords(reason)}` : "no advice yet");
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
    ["Instrument", "Down", "Flat", "Up", "Odds", "10 %", "Median", "90 %", "Volatility", "Signal", "Degraded"],
    rows.map(({ instrument, prediction: row, signal }) => ({
      kind: nameOf(instrument) === selected ? "selected" : "",
      cells: [el("span", { title: `as of ${row.as_of}` }, instrument.symbol, el("span", { class: "narrow" }, odds(row))), percent(row.p_down, 1), percent(row.p_flat, 1), percent(row.p_up, 1), odds(row),
        signed(row.q10), signed(row.q50), signed(row.q90), percent(row.volatility), advice(signal, row), el("span", {}, ...[behind(row, newest)].filter(Boolean), ...codes(row))],
    })), { 1: "minor", 2: "minor", 3: "minor", 4: "text minor", 6: "minor", 8: "minor", 9: "text", 10: "text marks" }));
  const all = [...new Set(rows.flatMap(({ prediction }) => prediction.degraded))].sort();
  show("degraded-legend", ...all.flatMap((code) => [
    el("dt", {}, el("span", { class: "code" }, inWords(code))), el("dd", {}, `${meaning(code)} `, el("code", {}, code))]));
  const marked = rows.filter(({ prediction }) => prediction.degraded.length).length;
  $("predictions-note").textContent = `as of ${moment(newest)} · ` + (marked ? `${marked} of ${rows.length} degraded` : `none of ${rows.length} degraded`);
}

export function feed(events, market) {
  const shown = events.filter(({ row }) => row.side !== "flat").slice(0, 80);
  const newest = market.instruments.map((one) => market.of(nameOf(one)).signal).filter(Boolean);
  const gates = new Map();
  for (const row of newest) if (row.side === "flat") gates.set(row.gate, (gates.get(row.gate) ?? 0) + 1);
  const flat = [...gates.entries()].sort((a, b) => b[1] - a[1])
    .map(([gate, n]) => el("li", { title: meaning(gate) }, `${n} × ${inWords(gate)}`));
  $("feed-note").textContent = newest.length ? `${newest.length - [...gates.values()].reduce((a, b) => a + b, 0)} of ${newest.length} take a side` : "";
  const why = flat.length ? el("ul", { class: "gates small" }, el("li", {}, "Flat now:"), ...flat) : null;
  const rows = shown.map(({ row, at, fresh }) => el("div", { class: fresh ? "event fresh" : "event" },
    side(row), el("b", {}, row.symbol),
    el("span", { class: row.realized_return > 0 ? "up" : row.realized_return < 0 ? "down" : "" },
      known(row.realized_return) ? signed(row.realized_return) : row.status.replace("_", " ")),
    el("span", { class: "quiet" }, ...detail(row, at).map((text) => el("span", {}, text)))));
  show("feed", ...(why ? [why] : []), ...(rows.length ? rows : [el("p", { class: "empty" },
    newest.length ? "No signal has taken a side yet. A flat one says above what held it back; each close is decided anew."
      : "No signals yet: the first follow the first live predictions.")]));
}

function detail(row, at) {
  const entry = known(row.entry_price) ? `in ${price(row.entry_price)}` : "enters at the next open";
  if (row.closed_at) return [`${moment(at)} · ${row.status.replace("_", " ")}`, `${entry}, out ${price(row.exit_price)}`];
  const ends = known(row.stop) ? [`stop ${price(row.stop)}, take ${price(row.take)}`] : [];
  const edge = known(row.expected_edge_bps) ? [`size ${percent(row.size_fraction, 1)}, edge ${row.expected_edge_bps.toFixed(0)} bp`] : [];
  return [`${moment(row.as_of)} until ${moment(row.expires_at)}`, entry, ...ends, ...edge];
}

const LOSSES = { log_loss: "log loss", pinball: "pinball loss", qlike: "QLIKE" };
const NAMES = { direction: "Direction", quantiles: "Quantiles", volatility: "Volatility" };
const RECORDS = { live: "Live record", late: "Said late", backtest: "Backtest over history" };
const ORDER = { champion: 0, member: 1, challenger: 2 };

// Of the timeframe and horizon that are looked at; what was said live first, and apart from the rest.
export function scores(rows, view) {
  const chosen = (rows ?? []).filter((row) => row.timeframe === view.timeframe && row.horizon === view.horizon);
  if (!chosen.length) return show("scores", el("p", { class: "empty" }, awaited(view)));
  const exchanges = new Set(chosen.map((row) => row.exchange));
  const widest = 1.15 * Math.max(0.01, ...chosen.flatMap((row) => row.skill_interval95 ?? [row.skill ?? 0]).map(Math.abs));
  const groups = new Map();
  for (const row of chosen) {
    const where = exchanges.size > 1 ? `${row.exchange} · ` : "";
    const key = [Object.keys(RECORDS).indexOf(row.origin), Object.keys(NAMES).indexOf(row.target), row.exchange].join();
    const name = `${RECORDS[row.origin] ?? row.origin} · ${where}${NAMES[row.target]} · ${LOSSES[row.loss_name] ?? row.loss_name}`;
    if (!groups.has(key)) groups.set(key, { name, rows: [] });
    groups.get(key).rows.push(row);
  }
  const lines = [...groups.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, group]) => [
    { kind: "group", cells: [group.name] },
    ...group.rows.sort((a, b) => ORDER[a.role] - ORDER[b.role] || (b.skill ?? -9) - (a.skill ?? -9))
      .map((row) => ({ kind: row.role === "champion" ? "served" : "", cells: line(row, Math.min(widest, 1)) })),
  ]);
  const live = chosen.some((row) => row.origin === "live");
  show("scores", ...(live ? [] : [el("p", { class: "empty" }, awaited(view))]), table(
    ["Model", "Role", "Count", "Effective", "Loss", "Baseline", "Skill", "95 %"],
    lines, { 1: "text minor", 3: "minor", 4: "minor", 5: "minor", 7: "interval" }));
}

function line(row, widest) {
  return [row.model, row.role, count(row.count), count(row.effective_count), figure(row.loss),
    `${row.baseline.split(".")[0]} ${figure(row.baseline_loss)}`,
    known(row.skill) ? signed(row.skill) : el("span", { class: "quiet" }, "baseline"), known(row.skill) ? whisker(row, widest) : ""];
}

function awaited({ first, timeframe, horizon, now }) {
  const why = "A prediction is scored against what came true when its whole horizon has passed";
  if (!first) return `Nothing live is scored yet. ${why}; the first live one is still to come.`;
  const end = new Date(1000 * (seconds(first) + horizon * stepOf(timeframe))).toISOString();
  const state = now >= end ? "its score is being written" : `that is ${span(seconds(end) - seconds(now ?? first))} of market time from now`;
  return `Nothing live is scored yet. ${why}: the first, of ${moment(first)}, at ${moment(end)}; ${state}. `
    + "A signal may end earlier, at its stop or take: that return is not yet a score.";
}

function whisker(row, widest) {
  const x = (value) => 65 + 60 * Math.max(-1, Math.min(1, value / widest));
  const interval = row.skill_interval95;
  const title = interval ? `${signed(row.skill)}, 95 %: ${signed(interval[0])} to ${signed(interval[1])}` : "too few days for an interval";
  const kind = !interval ? "" : interval[0] > 0 ? "above" : interval[1] < 0 ? "below" : "";
  const drawing = svg("svg", { class: `whisker ${kind}`, viewBox: "0 0 130 14", role: "img", "aria-label": title },
    svg("line", { class: "zero", x1: 65, x2: 65, y1: 0, y2: 14 }));
  if (!interval) return el("span", { class: "quiet small", title }, "too few days");
  drawing.append(svg("line", { x1: x(interval[0]), x2: x(interval[1]), y1: 7, y2: 7, "stroke-width": 2 }),
    svg("circle", { cx: x(row.skill), cy: 7, r: 3 }));
  const label = svg("title");
  label.textContent = title;
  drawing.append(label);
  return drawing;
}

function strip({ newest: row }) {
  const [begin, end] = [seconds(row.from), seconds(row.to)];
  const holes = row.holes.map((hole) => `${moment(hole.from)} to ${moment(hole.to)} ${inWords(hole.state)}`);
  const title = [`${count(row.present)} of the newest ${count(row.expected)} candles`, ...holes].join("; ");
  const drawing = svg("svg", { class: "strip", viewBox: "0 0 120 10", preserveAspectRatio: "none", role: "img", "aria-label": title },
    svg("rect", { class: "there", width: 120, height: 10 }));
  for (const hole of row.holes) {
    const x = 120 * (seconds(hole.from) - begin) / (end - begin);
    const width = Math.max(2, 120 * (seconds(hole.to) - seconds(hole.from)) / (end - begin));
    drawing.append(svg("rect", { class: hole.state, x: Math.min(x, 120 - width), width, height: 10 }));
  }
  const label = svg("title");
  label.textContent = title;
  drawing.append(label);
  const words = holes.length > 2 ? [...holes.slice(-2).reverse(), `${holes.length - 2} more`] : holes.reverse();
  return el("div", {}, drawing, " ", percent(row.present / row.expected, 1),
    ...words.map((text) => el("div", { class: "warn small" }, text)));
}

export function coverage(rows) {
  if (!rows?.length) return;
  const expected = rows.reduce((sum, row) => sum + row.expected, 0);
  const present = rows.reduce((sum, row) => sum + row.present, 0);
  $("coverage-note").textContent = `${count(present)} of ${count(expected)} candles`;
  const worst = [...rows].sort((a, b) => (b.expected - b.present) - (a.expected - a.present));
  show("coverage", table(["Instrument", "Timeframe", "Newest candles", "Missing", "Gaps"], worst.map((row) => ({ cells: [
    row.symbol, row.timeframe, row.newest ? strip(row) : null,
    el("span", { class: row.expected > row.present ? "warn" : "", title: `since ${moment(row.first_close)}` }, count(row.expected - row.present)), count(row.gaps),
  ] })), { 1: "text minor", 2: "text" }));
}

export function latency(rows) {
  if (!rows?.length) return;
  show("latency", table(["Stage", "Timeframe", "Median", "99 %", "Ticks"], rows.map((row) => ({ cells: [
    row.stage, row.timeframe, milliseconds(row.p50_us), milliseconds(row.p99_us), count(row.ticks),
  ] })), { 1: "text" }));
}

const TONE = { ok: "good", stale: "wait", down: "bad", off: "" };

const score = (value) => el("span", { class: value > 0.1 ? "up" : value < -0.1 ? "down" : "quiet" },
  known(value) ? `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}` : "no known word");

export function sentiment(payload, simulated, now) {
  if (!payload) return;
  const age = (at) => span(Math.max(0, seconds(now) - seconds(at)));
  const index = payload.fear_greed;
  $("sentiment-note").textContent = [
    index ? `Fear & Greed ${Math.round(index.value)}, ${age(index.event_time)} old` : "Fear & Greed not known",
    simulated ? "simulated: nobody wrote these, and they follow no price" : null,
  ].filter(Boolean).join(" · ");
  show("sources", ...payload.sources.map((one) => el("li", {},
    el("span", { class: `badge ${TONE[one.state]}`, title: [`since ${moment(one.since)}`, one.reason].filter(Boolean).join(": ") },
      `${one.source.replaceAll("_", " ")}: ${one.state}${one.state === "off" && one.reason ? `, ${one.reason}` : ""}`))));
  if (!payload.texts.length) return;
  show("texts", table(["Published", "Source", "Of", "Score", "Title"], payload.texts.map((row) => ({
    cells: [
      moment(row.published_at), row.source.replaceAll("_", " "), (row.assets ?? []).join(" ") || "market", score(row.polarity),
      row.title === null ? el("span", { class: "quiet" }, "text forgotten") : row.url && !simulated
        ? el("a", { href: /^https?:/.test(row.url) ? row.url : undefined, rel: "noopener noreferrer" }, row.title) : row.title,
    ],
  })), ["", "text", "text", "", "title"]));
}
