// One instrument: its candles with what was predicted and signalled, and why the newest row says what it says.

import { $, card, el, odds, put, scroll, show, table, unknown } from "/static/dom.js";
import { explained } from "/static/explanation.js";
import { gapsOf, modelEvents } from "/static/past.js";
import { codes, gist, held, side } from "/static/parts.js";
import { toInstrument } from "/static/routes.js";
import { count, inWords, known, meaning, moment, nameOf, percent, price, signed, span, stepOf } from "/static/words.js";

const CANDLES = 300;
const SIGNALS_SHOWN = 60;
const EXPLAINED_MS = 20_000; // between two explanations that nobody asked for

export const instrument = {
  title: ({ route }) => `${route.symbol} · ${route.exchange}`,
  panels: [],
  streams: ({ route, timeframe }) => [
    ...["candles", "predictions", "signals"].map((channel) => `${channel}.${timeframe}.${route.exchange}.${route.symbol}`), "gaps", "models"],
  open(root, page) {
    const view = new View(page);
    root.append(...view.parts());
    return view;
  },
};

class View {
  constructor(page) {
    this.page = page;
    this.name = nameOf(page.route);
    this.early = []; // rows that came while the past was loading
    this.signals = new Map();
    this.events = [];
    this.asked = 0;
  }

  parts() {
    const { route, timeframe, status } = this.page;
    return [
      el("div", { class: "beside" },
        el("div", { class: "column" },
          el("section", { class: "card", "aria-labelledby": "chart-title" },
            el("header", {}, el("h2", { id: "chart-title" }, `${route.symbol} · ${timeframe}`), el("span", { id: "legend", class: "quiet" }),
              el("span", { class: "spring" }), el("nav", { class: "steps", "aria-label": "Timeframes" }, ...status.timeframes.map((each) =>
                el("a", { href: toInstrument(route, each), "aria-current": each === timeframe ? "page" : null }, each)))),
            el("div", { id: "chart" }, el("p", { class: "empty" }, "Candles appear when they are loaded")),
            el("p", { class: "quiet small" }, "Band: 10–90 % of what was said one horizon before, line: the median; it goes on into the hours still to come. "
              + "Arrows: entries; dots: exits (with their number where several end together), green when they paid. Shaded: candles are missing. "
              + "Squares: the models changed. Charts by ", el("a", { href: "https://www.tradingview.com/", rel: "noopener" }, "TradingView"), " Lightweight Charts™.")),
          card("record", "Signals of this instrument", "each close has one; a flat one names what held it back", scroll("record", "No signals yet"))),
        el("div", { class: "column" },
          card("newest", "Newest prediction", "", el("div", { id: "newest", class: "tile" }, el("p", { class: "empty" }, "No prediction yet"))),
          card("why", "Why it says so", "", el("div", { id: "why", class: "tile" }, el("p", { class: "empty" }, "An explanation follows the first prediction of a fitted model"))))),
      el("div", { class: "pair" },
        card("gaps", "Gaps", "", scroll("gaps", "No candle is missing here")),
        card("changes", "Model changes", "", scroll("changes", "No model has changed yet"))),
    ];
  }

  async again() {
    const asked = ++this.asked;
    this.early = [];
    this.loaded = false;
    const { route, timeframe, horizon, ask } = this.page;
    const of = new URLSearchParams({ exchange: route.exchange, symbol: route.symbol, timeframe, limit: String(CANDLES) });
    try {
      const [{ MarketChart }, candles, predictions, signals, gaps, events] = await Promise.all([
        import("/static/chart.js"), ask(`/v1/candles?${of}`), ask(`/v1/predictions?${of}&horizon=${horizon}`),
        ask(`/v1/signals?${of}&horizon=${horizon}`), gapsOf(ask, of), modelEvents(ask, { ...route, timeframe, horizon })]);
      if (asked !== this.asked || this.closed) return;
      this.load(MarketChart, { candles, predictions, signals, gaps, events });
    } catch (error) {
      if (asked === this.asked && !this.closed) this.page.fail(error);
    }
  }

  load(MarketChart, past) {
    if (!this.chart) {
      $("chart").replaceChildren();
      this.chart = new MarketChart($("chart"), this.page.timeframe);
    }
    this.signals = new Map(past.signals.map((row) => [keyOf(row), row]));
    Object.assign(this, { gaps: past.gaps, events: past.events, loaded: true });
    this.chart.load(past);
    for (const [channel, row] of this.early) this.take(channel, row);
    this.early = [];
    this.draw();
    this.lists();
  }

  frame(channel, { data: row }) {
    if (channel === "gaps" || channel === "models") this.told(channel, row);
    else if (nameOf(row) === this.name && row.timeframe === this.page.timeframe) {
      if (this.loaded) this.take(channel, row);
      else this.early.push([channel, row]);
    }
  }

  take(channel, row) {
    this.chart[channel.slice(0, -1)](row);
    if (channel === "signals") this.signals.set(keyOf(row), row);
  }

  // Rare: asked for again rather than merged.
  async told(channel, row) {
    const { route, timeframe, horizon, ask } = this.page;
    if (channel === "gaps" && (nameOf(row) !== this.name || row.timeframe !== timeframe)) return;
    if (channel === "gaps") return void this.again();
    this.events = await modelEvents(ask, { ...route, timeframe, horizon }).catch(() => this.events);
    if (!this.closed && this.loaded) {
      this.chart.changes(this.events);
      this.lists();
    }
  }

  rows(names) {
    if (names.has(this.name)) this.draw();
  }

  draw() {
    const { candle, prediction, signal } = this.page.market.of(this.name);
    if (candle) put($("legend"), this.legend(candle, prediction));
    if (prediction) this.newest(prediction, signal);
    if (!this.loaded) return;
    this.chart.draw();
    this.record();
    this.explain(prediction);
  }

  legend(candle, prediction) {
    const parts = [`close ${price(candle.close)}`];
    if (known(prediction?.q10)) {
      const [low, high] = [prediction.q10, prediction.q90].map((q) => candle.close * Math.exp(q));
      parts.push(`80 % in ${span(stepOf(this.page.timeframe) * this.page.horizon)}: ${price(low)} – ${price(high)}`);
    }
    return parts.join(" · ");
  }

  newest(row, signal) {
    put($("newest-note"), `as of ${moment(row.as_of)}, ${row.origin}`);
    const [what, why, title] = gist(signal, row);
    show("newest",
      el("p", {}, what ? side({ side: what }) : null, " ", el("b", {}, why), " ", el("span", { class: "quiet small" }, title)),
      el("dl", { class: "facts" },
        ...fact("Odds", known(row.p_up) ? el("span", {}, odds(row), `down ${percent(row.p_down, 1)}, flat ${percent(row.p_flat, 1)}, up ${percent(row.p_up, 1)}`) : unknown()),
        ...fact("Return, 80 %", known(row.q10) ? `${signed(row.q10)} to ${signed(row.q90)}, median ${signed(row.q50)}` : unknown()),
        ...fact("Volatility", `σ ${percent(row.volatility)} over ${count(row.horizon)} candles`),
        ...fact("Unlike its training", known(row.dissimilarity) ? `${row.dissimilarity.toFixed(2)} (1: as those rows)` : unknown()),
        ...fact("Said by", el("span", { class: "small", title: members(row) }, spoken(row)))),
      row.degraded.length ? el("ul", { class: "codes" }, ...row.degraded.map((code, place) => el("li", {}, codes(row)[place], el("span", { class: "quiet small" }, meaning(code)))))
        : el("p", { class: "quiet small" }, "Nothing is wrong with this row."));
  }

  async explain(prediction) {
    const spoken = Object.keys(prediction?.members ?? {});
    const asked = prediction && [this.page.timeframe, this.page.horizon, this.page.route.exchange, prediction.as_of, prediction.revision, this.page.route.symbol].join(".");
    const now = performance.now();
    if (!spoken.length || this.explaining || this.explained === asked || now - (this.explainedAt ?? -Infinity) < EXPLAINED_MS) return;
    Object.assign(this, { explaining: true, explainedAt: now });
    try {
      const found = await this.page.ask(`/v1/predictions/${asked.split("/").map(encodeURIComponent).join("/")}/explanation`);
      if (this.closed) return;
      this.explained = asked;
      put($("why-note"), `of the prediction as of ${moment(prediction.as_of)}`);
      show("why", ...explained(found));
    } catch (error) {
      if (!this.closed) show("why", el("p", { class: "empty" }, `No explanation: ${error.message}`));
    } finally {
      this.explaining = false;
    }
  }

  record() {
    const rows = [...this.signals.values()].sort((a, b) => (a.as_of < b.as_of ? 1 : -1)).slice(0, SIGNALS_SHOWN);
    const said = rows.map((row) => keyOf(row) + row.status).join();
    if (!rows.length || said === this.recorded) return;
    this.recorded = said;
    show("record", table("Signals of this instrument, the newest first", ["As of", "Side", "What became of it, or why it is flat", "Strength", "Entry", "Exit", "Net return"], rows.map((row) => ({ cells: [
      moment(row.as_of), side(row), row.side === "flat" ? el("span", { title: row.gate }, `${inWords(row.gate)}: `, el("span", { class: "quiet" }, meaning(row.gate)))
        : held(row), percent(row.strength, 0), row.side === "flat" ? "" : known(row.entry_price) ? price(row.entry_price) : row.closed_at ? "never" : "next open", row.side === "flat" || !row.closed_at ? "" : price(row.exit_price),
      row.side === "flat" || !row.closed_at ? "" : el("span", { class: row.realized_return > 0 ? "up" : row.realized_return < 0 ? "down" : "" }, signed(row.realized_return)),
    ] })), { 1: "text", 2: "text title", 3: "minor", 4: "minor", 5: "minor" }));
  }

  lists() {
    if (this.gaps.length) {
      show("gaps", table("Stretches of missing candles", ["From", "To", "State", "Cause"], this.gaps.map((row) => ({ cells: [
        moment(row.from), moment(row.to), el("span", { class: row.state === "filled" ? "up" : "warn" }, inWords(row.state)), inWords(row.cause)] })), { 1: "text", 2: "text", 3: "text" }));
    }
    if (this.events.length) {
      show("changes", table("Decisions about models", ["At", "What", "Model", "Why"], this.events.slice(0, SIGNALS_SHOWN).map((row) => ({ cells: [
        moment(row.at), inWords(row.kind), `${row.model} ${row.version}`, el("span", { class: "quiet small" }, row.detail)] })), { 1: "text", 2: "text", 3: "title" }));
    }
  }

  close() {
    this.closed = true;
    this.chart?.remove();
  }
}

const keyOf = (row) => `${row.as_of} ${row.horizon} ${row.revision}`;

const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

const spoken = (row) => Object.keys(row.members ?? {}).map((model) => model.split(".")[0]).filter((one, place, all) => all.indexOf(one) === place).join(", ") || "nobody";

const members = (row) => Object.entries(row.members ?? {}).map(([model, version]) => `${model} ${version}`).join(", ");
