// All instruments at a glance: price, signal, odds, volatility, coverage; each row leads to its own view.

import { $, card, el, paintOdds, put, show } from "/static/dom.js";
import { gain, curve } from "/static/account.js";
import { toInstrument } from "/static/routes.js";
import { gates, gist } from "/static/parts.js";
import { skillOf } from "/static/skill.js";
import { count, inWords, known, meaning, moment, nameOf, percent, price, signed } from "/static/words.js";

const SORTED_MS = 5_000; // between two sortings, and two writings of what is out of view
const SPARE_MS = 2; // of an idle moment that are left
const MOST_CODES = 3; // of degradations in a row

// column → heading, how it is sorted (null: by name), class
const COLUMNS = [
  ["Instrument", ({ name }) => name, ""],
  ["Price", ({ candle }) => moved(candle), "", "by the change of the newest candle"],
  ["Signal", ({ signal }) => rank(signal), "text", "sides first"],
  ["Odds: down, flat, up", ({ prediction }) => lean(prediction), "text", "by p(up) − p(down)"],
  ["Volatility σ", ({ prediction }) => prediction?.volatility, "minor"],
  ["80 % range", ({ prediction }) => width(prediction), "minor", "by its width"],
  ["Coverage", ({ coverage }) => coverage?.share, "", "present of the newest candles"],
  ["Degraded", ({ prediction }) => prediction?.degraded.length, "text marks", "by how many marks"],
];

const rank = (signal) => (!signal ? null : signal.side === "flat" ? 0 : signal.strength);
const moved = (candle) => (candle ? candle.close / candle.open - 1 : null);
const lean = (row) => (known(row?.p_up) ? row.p_up - row.p_down : null);
const width = (row) => (known(row?.q90) ? row.q90 - row.q10 : null);

export const overview = {
  title: () => "Overview",
  panels: ["coverage", "model_scores", "ledger"],
  streams: ({ timeframe }) => ["candles", "predictions", "signals"].map((channel) => `${channel}.${timeframe}.*.*`),
  open(root, page) {
    const list = new List(page);
    root.append(
      el("div", { class: "tiles" }, ...["skill", "now", "paper"].map((id) => tile(id))),
      card("instruments", "Instruments", "", list.tools(), el("div", { class: "scroll whole", tabindex: "0", role: "region", "aria-labelledby": "instruments-title" }, list.table)));
    list.note();
    return {
      rows: (names) => {
        list.update(names);
        now(page);
      },
      panels: ({ coverage, model_scores: scores, ledger }) => {
        list.cover(coverage);
        skill(scores, page);
        paper(ledger, page);
      },
      close: () => list.close(),
    };
  },
};

const TILES = { skill: "Served skill, live", now: "Signals now", paper: "Paper account" };

const tile = (id) => card(id, TILES[id], "", el("div", { id: `${id}-body`, class: "tile" }, el("p", { class: "empty" }, "Not known yet")));

function skill(scores, { timeframe, horizon }) {
  const served = (scores ?? []).filter((row) => row.role === "champion" && row.origin === "live" && row.timeframe === timeframe && row.horizon === horizon);
  if (!served.length) return;
  show("skill-body", ...served.map(skillOf), el("p", { class: "quiet small" }, "1 − loss ÷ loss of the baseline; above 0 is better than it. ",
    el("a", { href: "#/models" }, "All models")));
}

function now({ market }) {
  const newest = market.instruments.map((one) => market.of(nameOf(one)).signal).filter(Boolean);
  if (!newest.length) return;
  const sides = newest.filter(({ side }) => side !== "flat");
  const flat = gates(newest);
  const said = JSON.stringify([sides.map(({ symbol, side }) => [symbol, side]), flat]);
  if ($("now-body").dataset.said === said) return;
  $("now-body").dataset.said = said;
  put($("now-note"), `${sides.length} of ${newest.length} take a side`);
  show("now-body",
    el("p", {}, ...(sides.length ? sides.slice(0, 12).flatMap((row) => [el("a", { class: `side ${row.side}`, href: toInstrument(row, row.timeframe) }, `${row.side} ${row.symbol}`), " "])
      : ["Nothing takes a side at this close."])),
    flat.length ? el("ul", { class: "gates small" }, el("li", {}, "Flat, because:"),
      ...flat.map(([gate, n]) => el("li", { title: meaning(gate) }, `${count(n)} × ${inWords(gate)}`))) : null);
}

function paper(rows, { timeframe }) {
  const row = (rows ?? []).find((each) => each.timeframe === timeframe);
  if (!row) return;
  put($("paper-note"), `no orders; ${row.exchange}, since ${moment(row.from)}`);
  show("paper-body", curve(row), el("p", {}, el("i", { class: "key own" }), "account ", gain(row.return), " · ",
    el("i", { class: "key hold" }), "hold all ", gain(row.benchmarks.buy_and_hold.return), " · ",
    el("i", { class: "key" }), "do nothing 0.00 % · ", `${count(row.trades)} signals, drawdown ${percent(row.max_drawdown)} · `,
    el("a", { href: "#/signals" }, "Track record")));
}

// The table of instruments. A row's nodes are made once; afterwards only what differs is written, of rows
// that are seen in the frame, of the others when they come into view, or now and then when the browser is idle.
class List {
  constructor(page) {
    this.page = page;
    this.sorted = { column: null, down: true };
    this.lines = new Map();
    this.heads = COLUMNS.map(([text, , kind, how], index) => el("th", { scope: "col", class: kind, "aria-sort": "none" },
      el("button", { type: "button", class: "sort", title: how ? `sort ${how}` : "sort", onclick: () => this.sort(index) }, text)));
    this.body = el("tbody");
    this.table = el("table", { class: "instruments" }, el("caption", { class: "unseen" }, "Every watched instrument with its newest prediction"),
      el("thead", {}, el("tr", {}, ...this.heads)), this.body);
    for (const one of page.market.instruments) this.add(one);
    this.body.append(...[...this.lines.values()].map(({ node }) => node));
    this.behind = new Set(this.lines.keys()); // names of rows that are not as the market is
    this.seen = new Set();
    for (const name of this.behind) this.write(name);
    this.behind.clear();
    this.sight = new IntersectionObserver((entries) => this.scrolled(entries), { rootMargin: "200px" });
    for (const { node } of this.lines.values()) this.sight.observe(node);
    this.timer = setInterval(() => {
      this.order();
      this.idle ??= whenIdle((left) => this.catchUp(left));
    }, SORTED_MS);
  }

  tools() {
    return el("p", { class: "tools" }, el("label", {}, "Find ", el("input", { type: "search", id: "find", placeholder: "symbol or exchange",
      oninput: (event) => this.find(event.target.value) })));
  }

  note() {
    put($("instruments-note"), `${count(this.page.market.instruments.length)} watched · ${this.page.timeframe}, ${this.page.horizon} candles ahead`);
  }

  add(instrument) {
    const cells = Object.fromEntries(["price", "change", "side", "why", "volatility", "range", "coverage", "codes"].map((name) => [name, el("span")]));
    const bar = el("span", { class: "odds", role: "img" });
    const name = nameOf(instrument);
    const node = el("tr", { "data-name": name },
      el("th", { scope: "row" }, el("a", { href: toInstrument(instrument, this.page.timeframe) }, instrument.symbol), el("span", { class: "quiet small exchange" }, instrument.exchange)),
      el("td", {}, cells.price, " ", cells.change),
      el("td", { class: "text" }, cells.side, " ", cells.why),
      el("td", { class: "text" }, bar, cells.lean = el("span", { class: "small quiet" })),
      el("td", { class: "minor" }, cells.volatility), el("td", { class: "minor" }, cells.range),
      el("td", {}, cells.coverage), el("td", { class: "text marks" }, cells.codes));
    this.lines.set(name, { name, instrument, node, cells, bar });
  }

  update(names) {
    for (const name of names) {
      if (this.seen.has(name) || !this.lines.get(name)?.told) this.write(name);
      else this.behind.add(name);
    }
  }

  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      const { name } = target.dataset;
      if (isIntersecting) this.seen.add(name);
      else this.seen.delete(name);
      if (isIntersecting && this.behind.delete(name)) this.write(name);
    }
  }

  catchUp(left) {
    this.idle = null;
    for (const name of this.behind) {
      if (left() < SPARE_MS) break;
      this.behind.delete(name);
      this.write(name);
    }
    if (this.behind.size) this.idle = whenIdle((more) => this.catchUp(more));
  }

  write(name) {
    const line = this.lines.get(name);
    if (!line) return;
    const { cells } = line;
    const { candle, prediction, signal } = this.page.market.of(name);
    const change = moved(candle);
    line.told = Boolean(candle && prediction && signal); // from then on it can wait
    set(cells.price, price(candle?.close));
    set(cells.change, known(change) ? signed(change) : "", change > 0 ? "up small" : change < 0 ? "down small" : "quiet small");
    const [side, why, title] = gist(signal, prediction);
    set(cells.side, side, side ? `side ${side}` : "");
    set(cells.why, why, "quiet small", title);
    paintOdds(line.bar, prediction);
    set(cells.lean, known(prediction?.p_up) ? [prediction.p_down, prediction.p_flat, prediction.p_up].map((p) => Math.round(100 * p)).join(" · ") : "not known");
    set(cells.volatility, percent(prediction?.volatility));
    set(cells.range, known(prediction?.q10) ? `${signed(prediction.q10, 1)} to ${signed(prediction.q90, 1)}` : "not known");
    this.codes(line, prediction?.degraded ?? []);
  }

  codes(line, degraded) {
    const said = degraded.join();
    if (line.said === said) return;
    line.said = said;
    line.cells.codes.replaceChildren(...degraded.slice(0, MOST_CODES).map((code) => el("span", { class: "code", title: `${code}: ${meaning(code)}` }, inWords(code))));
  }

  cover(rows) {
    for (const row of rows ?? []) {
      const line = row.timeframe === this.page.timeframe && this.lines.get(nameOf(row));
      if (!line || !row.newest) continue;
      const share = row.newest.present / row.newest.expected;
      line.coverage = { share };
      set(line.cells.coverage, percent(share, share === 1 ? 0 : 1), share < 1 ? "warn" : "", `${count(row.newest.present)} of the newest ${count(row.newest.expected)} candles; ${count(row.gaps)} gaps since ${moment(row.first_close)}`);
    }
  }

  find(text) {
    const wanted = text.trim().toLowerCase();
    for (const { name, node } of this.lines.values()) node.hidden = !name.toLowerCase().includes(wanted);
  }

  sort(column) {
    const down = this.sorted.column === column ? !this.sorted.down : column !== 0;
    this.sorted = { column, down };
    this.heads.forEach((head, index) => head.setAttribute("aria-sort", index !== column ? "none" : down ? "descending" : "ascending"));
    this.order();
  }

  order() {
    const { column, down } = this.sorted;
    if (column === null || this.body.contains(document.activeElement)) return; // who is in a row stays there
    const of = COLUMNS[column][1];
    const told = (line) => ({ ...this.page.market.of(line.name), name: line.name, coverage: line.coverage });
    const values = new Map([...this.lines.values()].map((line) => [line, of(told(line))]));
    const lines = [...this.lines.values()].sort((a, b) => compared(values.get(a), values.get(b), down));
    if (lines.some(({ node }, index) => this.body.children[index] !== node)) this.body.append(...lines.map(({ node }) => node));
  }

  close() {
    clearInterval(this.timer);
    this.sight.disconnect();
  }
}

// Safari has no idle moments to tell of.
const whenIdle = (then) => (window.requestIdleCallback
  ? requestIdleCallback((deadline) => then(() => deadline.timeRemaining())) : setTimeout(() => then(() => Infinity), 200));

// What is not known comes last, whichever way is sorted.
function compared(a, b, down) {
  if (!known(a) || !known(b)) return known(b) - known(a);
  const order = a < b ? -1 : a > b ? 1 : 0;
  return down ? -order : order;
}

function set(node, text, kind, title) {
  if (node.textContent !== text) node.textContent = text;
  if (kind !== undefined && node.className !== kind) node.className = kind;
  if (title !== undefined && node.title !== title) node.title = title;
}
