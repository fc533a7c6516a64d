// Brings the page to life: status, the view that the address names, the live streams, the panels.

import { askForKey } from "/static/access.js";
import { $, el } from "/static/dom.js";
import * as top from "/static/header.js";
import { Market } from "/static/market.js";
import { NeedsKeyError, ProblemError, ask, panels } from "/static/rest.js";
import { parse, toInstrument } from "/static/routes.js";
import { Live } from "/static/socket.js";
import { compare } from "/static/views/compare.js";
import { data } from "/static/views/data.js";
import { instrument } from "/static/views/instrument.js";
import { models } from "/static/views/models.js";
import { overview } from "/static/views/overview.js";
import { sentiment } from "/static/views/sentiment.js";
import { signals } from "/static/views/signals.js";
import { nameOf } from "/static/words.js";

const STATUS_MS = 2_000;
const STARTING_MS = 500;
const PANELS_MS = 5_000;
const KEY_CODES = [4401, 4403, 4510]; // no key, one that may not listen, one that has expired

const VIEWS = { overview, instrument, signals, models, compare, data, sentiment };

// What every view is told: where it is, what is chosen, what is known.
const page = {
  route: null,
  timeframe: null,
  horizon: null,
  status: null,
  market: new Market((names) => {
    open?.rows?.(names);
    top.clock(page.market.now);
  }),
  ask,
  fail: (error) => failed(error),
};
let open = null; // the view that is shown: { rows, frame, panels, again, close }, each if it needs it
let shown = null; // the route that it was opened for, spelt
let versions = new Map(); // panel → version that the view has
let shut = false; // a key is needed, and there is none

const live = new Live({
  frame: onFrame,
  state: (name, detail) => {
    if (name === "connecting") page.market.now = null; // the market may have been set back
    top.link(name, detail);
  },
  resumed: (told) => {
    top.resumed(told, new Date());
    if (told.lost.length) open?.again?.();
  },
  closed: (code, why) => {
    if (KEY_CODES.includes(code)) shutOut(why);
  },
});

function onFrame(message) {
  page.market.heard(message.ts);
  page.market.heard(message.as_of);
  const channel = message.stream?.split(".", 1)[0];
  if (message.type === "snapshot") for (const row of message.data) page.market.take(channel, row);
  if (message.type === "update" && page.market.take(channel, message.data)) open?.frame?.(channel, message);
}

function go() {
  page.route = parse(location.hash);
  const { view, timeframe } = page.route;
  top.nav(view);
  if (!page.timeframe) return;
  if (timeframe && !page.status.timeframes.includes(timeframe)) {
    location.replace(toInstrument(page.route, page.status.timeframes[0]));
    return;
  }
  if (timeframe && timeframe !== page.timeframe) {
    page.timeframe = timeframe;
    page.market.clear();
  }
  choices();
  const spelt = [location.hash, page.timeframe, page.horizon].join();
  if (spelt === shown) return;
  const moved = shown !== null;
  shown = spelt;
  open?.close?.();
  versions = new Map();
  $("view").replaceChildren(el("h1", { class: "unseen", tabindex: "-1" }, VIEWS[view].title(page)));
  document.title = `${VIEWS[view].title(page)} · AlphaPulse`;
  open = VIEWS[view].open($("view"), page);
  // The streams first: from then on nothing is missed, and the past is asked for meanwhile.
  live.want(VIEWS[view].streams(page));
  open.again?.();
  if (moved) $("view").querySelector("h1").focus({ preventScroll: true });
  if (moved) scrollTo(0, 0);
  pollPanels();
}

function choices() {
  top.choices("timeframe", page.status.timeframes, page.timeframe, (value) => {
    if (page.route.view === "instrument") location.hash = toInstrument(page.route, value);
    else anew({ timeframe: value });
  });
  top.choices("horizon", page.status.horizons, page.horizon, (value) => anew({ horizon: Number(value) }));
}

// Another timeframe, horizon, or list of instruments: nothing that is shown holds any more.
function anew(change) {
  Object.assign(page, change);
  page.market.horizon = page.horizon;
  page.market.clear();
  live.want([], true);
  shown = null;
  go();
}

function watch(status) {
  const names = status.instruments.map(nameOf).join();
  if (!status.store || !status.instruments.length || !status.timeframes.length || !status.horizons.length) return;
  if (page.names === names) return;
  page.names = names;
  page.market.instruments = status.instruments;
  const asked = page.route?.timeframe;
  const timeframe = page.timeframe ?? (status.timeframes.includes(asked) ? asked : status.timeframes[0]);
  anew({ timeframe, horizon: page.horizon ?? status.horizons[0] });
}

async function pollStatus() {
  try {
    [page.status] = await ask("/v1/status");
    top.trouble(null);
    page.market.heard(page.status.now);
    top.header(page.status);
    top.clock(page.market.now);
    watch(page.status);
    open?.status?.(page.status);
  } catch (error) {
    failed(error);
  }
  if (!shut) setTimeout(pollStatus, page.status?.ready ? STATUS_MS : STARTING_MS);
}

let polling = null;

async function pollPanels() {
  clearTimeout(polling);
  const [view, at] = [VIEWS[page.route.view], shown];
  const found = open && page.status?.store ? await panels(view.panels).catch(() => []) : [];
  if (at !== shown || shut) return; // another view asks for its own
  const changed = found.filter(({ panel, version }) => versions.get(panel) !== version);
  for (const { panel, version } of changed) versions.set(panel, version);
  if (changed.length) open.panels?.(Object.fromEntries(found.map((row) => [row.panel, row.payload])));
  clearTimeout(polling);
  polling = setTimeout(pollPanels, found.length || !view.panels.length ? PANELS_MS : STARTING_MS);
}

function failed(error) {
  if (error instanceof NeedsKeyError) shutOut(error.message);
  else top.trouble(error instanceof ProblemError ? error.message : `The server does not answer: ${error.message}`);
}

// Nothing more is asked for until somebody has entered a key; then the page begins anew.
function shutOut(why) {
  shut = true;
  top.trouble(null);
  askForKey(why);
}

$("skip").onclick = (event) => {
  event.preventDefault(); // the address names a view
  $("view").focus();
};
addEventListener("hashchange", go);
go();
pollStatus();
