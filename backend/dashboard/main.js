// Brings the page to life: status, the chosen instrument, the live streams, the panels.

import { askForKey, bearer } from "/static/access.js";
import { ledger } from "/static/account.js";
import { MarketChart } from "/static/chart.js";
import { $, el, show } from "/static/dom.js";
import * as panels from "/static/panels.js";
import { Live } from "/static/socket.js";
import { nameOf, price, seconds, span, stepOf } from "/static/words.js";

const STATUS_MS = 2_000;
const STARTING_MS = 500;
const PANELS_MS = 5_000;
const FEED_KEPT = 300;
const NOTES_SHOWN = 160; // characters

const market = {
  instruments: [],
  rows: new Map(), // name → { candle, prediction, signal }
  of(name) {
    if (!this.rows.has(name)) this.rows.set(name, {});
    return this.rows.get(name);
  },
};
const view = { timeframe: null, horizon: null, selected: null, loaded: null, events: [], early: [], asked: 0 };
let chart = null;
let status = null;
let dirty = false;
let shut = false; // a key is needed, and there is none

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json", ...bearer() } });
  const body = await answer.json();
  if (answer.status === 401) {
    shut = true;
    askForKey(body.detail);
  }
  if (!answer.ok) throw new Error(body.detail);
  return body.data;
}

const live = new Live({ frame: onFrame, state: onLink });

function onLink(name, detail) {
  if (name === "connecting") view.now = null; // the market may have been set back
  const said = {
    connecting: ["connecting", "wait"], live: ["live", "good"], waiting: [`waiting: ${detail}`, "wait"],
    lost: ["connection lost, trying again", "bad"], refused: [`refused: ${detail}`, "bad"],
  }[name];
  $("link").textContent = said[0];
  $("link").className = `badge ${said[1]}`;
}

function onFrame(message) {
  // From this reply on nothing is missed, so the past is asked for now, also after an outage.
  if (message.type === "reply" && message.method === "subscribe") {
    pastSignals();
    if (view.selected) select(view.selected);
  }
  heard(message.ts);
  heard(message.as_of);
  if (message.type === "snapshot") for (const row of message.data) onRow(message.stream, row);
  if (message.type !== "update") return;
  onRow(message.stream, message.data);
  if (message.stream.startsWith("signals.") && message.data.horizon === view.horizon) {
    told(message.data, message.as_of, true);
  }
}

// The status is asked for now and then; what comes meanwhile says that time has gone on.
function heard(moment) {
  if (moment && !(view.now >= moment)) view.now = moment;
}

// One entry a signal, of its newest state, the newest first.
function told(row, at, fresh) {
  const key = [nameOf(row), row.as_of, row.revision].join();
  view.events = [{ key, row, at, fresh }, ...view.events.filter((each) => each.key !== key)].slice(0, FEED_KEPT);
}

function onRow(stream, row) {
  if (row.horizon !== undefined && row.horizon !== view.horizon) return;
  const channel = stream.slice(0, stream.indexOf("."));
  const known = market.of(nameOf(row));
  const shown = view.loaded === nameOf(row);
  // What comes while the past of the chosen instrument loads may not be in the answer yet.
  if (!shown && view.selected === nameOf(row)) view.early.push([channel, row]);
  if (channel === "candles" && !(known.candle?.open_time > row.open_time)) {
    known.candle = row;
    if (shown) chart.candle(row);
  }
  if (channel === "predictions" && !(known.prediction?.as_of > row.as_of)) {
    known.prediction = row;
    if (shown) chart.prediction(row);
  }
  if (channel === "signals") {
    if (!(known.signal?.as_of > row.as_of)) known.signal = row;
    if (shown) chart.signal(row);
  }
  redraw();
}

function redraw() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    panels.instruments(market, view.selected, select);
    panels.predictions(market, view.selected);
    panels.feed(view.events, market);
    clock();
    for (const each of view.events) each.fresh = false;
    if (view.loaded) chart.draw();
    legend();
  });
}

function clock() {
  $("clock").textContent = view.now ? `${view.now.slice(0, 16).replace("T", " ")} UTC` : "";
}

function legend() {
  const { candle, prediction } = market.of(view.selected);
  if (!candle) return;
  const parts = [`close ${price(candle.close)}`];
  if (prediction?.q10 !== null && prediction) {
    const [low, high] = [prediction.q10, prediction.q90].map((q) => candle.close * Math.exp(q));
    parts.push(`80 % in ${span(stepOf(view.timeframe) * view.horizon)}: ${price(low)} – ${price(high)}`);
  }
  $("legend").textContent = parts.join(" · ");
}

async function select(name) {
  view.selected = name;
  view.loaded = null;
  view.early = [];
  const asked = ++view.asked;
  $("chart-title").textContent = `${name.slice(name.indexOf(":") + 1)} · ${view.timeframe}`;
  redraw();
  const [exchange, symbol] = [name.slice(0, name.indexOf(":")), name.slice(name.indexOf(":") + 1)];
  const of = new URLSearchParams({ exchange, symbol, timeframe: view.timeframe, limit: "300" });
  try {
    const [candles, predictions, signals] = await Promise.all([
      ask(`/v1/candles?${of}`),
      ask(`/v1/predictions?${of}&horizon=${view.horizon}`),
      ask(`/v1/signals?${of}&horizon=${view.horizon}&side=long,short`),
    ]);
    if (view.asked !== asked) return;
    chart ??= new MarketChart($("chart"));
    $("chart").querySelector(".empty")?.remove();
    chart.load({ candles, predictions, signals });
    view.first = predictions.filter(({ origin }) => origin === "live").map(({ as_of: at }) => at).sort()[0];
    for (const [channel, row] of view.early) chart[channel.slice(0, -1)](row);
    view.loaded = name;
    redraw();
  } catch (error) {
    trouble(error.message);
  }
}

function trouble(text) {
  $("trouble").textContent = text ?? "";
  $("trouble").hidden = !text;
}

function choices(id, values, chosen, onChoice) {
  const box = $(id);
  if (box.dataset.values !== values.join()) {
    box.dataset.values = values.join();
    box.replaceChildren(...values.map((value) => el("option", { value, selected: value === chosen }, String(value))));
    box.onchange = () => onChoice(box.value);
  }
  $(`${id}-choice`).hidden = values.length < 2;
}

function header(now) {
  const kind = { simulated: "SIMULATED MARKET", recorded: "RECORDED MARKET, REPLAYED", live: "LIVE MARKET" }[now.market];
  Object.assign($("market"), { textContent: kind, className: `badge ${now.market}`, hidden: false });
  $("speed").textContent = now.speed === 1 ? "" : `${now.speed.toLocaleString("en-US")}× real time`;
  heard(now.now);
  clock();
  const origin = {
    simulated: "Every price here is made up by a seeded generator with a planted signal; nothing is traded and nothing is quoted.",
    recorded: "These candles were recorded earlier and are played again; nothing here happens now.",
  }[now.market];
  about(origin, now.notes);
  const oldest = Math.max(0, ...now.freshness.map((each) => each.age_seconds));
  const [text, tone] = !now.ready ? ["starting", "wait"] : now.fresh ? [`fresh, ${span(oldest)}`, "good"] : [`stale, ${span(oldest)}`, "bad"];
  Object.assign($("freshness"), { textContent: text, className: `badge ${tone}`,
    title: now.ready ? "wall time since the close that the oldest of the newest predictions is of" : "not every instrument has a prediction yet" });
  loading(now);
}

// Long notes are folded behind their beginning; what somebody opened stays open.
function about(origin, notes) {
  const said = notes.join("; ");
  if ($("about").dataset.said === `${origin} ${said}`) return;
  $("about").dataset.said = `${origin} ${said}`;
  $("about").hidden = !origin && !said;
  const open = Boolean($("about").querySelector("details[open]"));
  show("about", [origin, said.length > NOTES_SHOWN ? "" : said].filter(Boolean).join(" "),
    ...(said.length > NOTES_SHOWN ? [el("details", { open: open ? "" : null },
      el("summary", {}, `${said.slice(0, NOTES_SHOWN)}…`), el("ul", {}, ...notes.map((note) => el("li", {}, note))))] : []));
}

// What loads before the system is ready has bars; what it does afterwards moves nothing on the page.
function loading(now) {
  const amount = (each) => (each.total ? `${each.name}: ${each.done.toLocaleString("en-US")} of ${each.total.toLocaleString("en-US")}` : each.name);
  $("loading").hidden = now.ready || !now.progress.length;
  show("loading", ...now.progress.map((each) => el("label", {}, amount(each),
    el("progress", each.total ? { max: each.total, value: each.done } : {}))));
  $("working").textContent = now.ready ? now.progress.filter((each) => each.done < each.total).map(amount).join(" · ") : "";
}

function watch(now) {
  const names = now.instruments.map(nameOf).join();
  if (!now.store || !now.instruments.length || !now.timeframes.length || !now.horizons.length) return;
  view.timeframe ??= now.timeframes[0];
  view.horizon ??= now.horizons[0];
  choices("timeframe", now.timeframes, view.timeframe, (value) => restart({ timeframe: value }));
  choices("horizon", now.horizons, view.horizon, (value) => restart({ horizon: Number(value) }));
  if (view.names === names) return;
  view.names = names;
  market.instruments = now.instruments;
  restart({});
}

function restart(change) {
  Object.assign(view, change, { events: [], loaded: null });
  market.rows.clear();
  live.want(["candles", "predictions", "signals"].map((channel) => `${channel}.${view.timeframe}.*.*`));
  const names = market.instruments.map(nameOf);
  select(names.includes(view.selected) ? view.selected : names[0]);
}

async function pastSignals() {
  const of = new URLSearchParams({ timeframe: view.timeframe, horizon: view.horizon, side: "long,short", limit: "60" });
  const older = view.events;
  view.events = [];
  const rows = await ask(`/v1/signals?${of}`).catch(() => []);
  const newer = view.events;
  view.events = [];
  for (const { row, at } of older.reverse()) told(row, at, false);
  for (const row of rows.reverse()) told(row, row.closed_at ?? row.as_of, false);
  for (const { row, at } of newer.reverse()) told(row, at, false);
  view.events.sort((a, b) => seconds(b.at) - seconds(a.at));
  redraw();
}

async function pollStatus() {
  try {
    [status] = await ask("/v1/status");
    trouble(null);
    header(status);
    watch(status);
    if (view.selected && !view.loaded) select(view.selected);
  } catch (error) {
    if (!shut) trouble(`The server does not answer: ${error.message}`);
  }
  if (!shut) setTimeout(pollStatus, status?.ready ? STATUS_MS : STARTING_MS);
}

async function pollPanels() {
  const rows = status?.store ? await ask("/v1/dashboard").catch(() => []) : [];
  const payload = Object.fromEntries(rows.map((row) => [row.panel, row.payload]));
  panels.scores(payload.model_scores, view);
  panels.coverage(payload.coverage);
  panels.latency(payload.latency);
  ledger(payload.ledger, view);
  panels.sentiment(payload.sentiment, status?.market === "simulated", view.now);
  if (!shut) setTimeout(pollPanels, rows.length ? PANELS_MS : STARTING_MS);
}

pollStatus();
pollPanels();
