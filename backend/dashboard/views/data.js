// What is known and what is not: coverage, gaps, sources, freshness, the time each stage takes.

import { $, card, drawing, el, put, scroll, show, svg, table } from "/static/dom.js";
import { gapsOf } from "/static/past.js";
import { toInstrument } from "/static/routes.js";
import { sourceList } from "/static/sources.js";
import { count, inWords, known, milliseconds, moment, percent, seconds, span } from "/static/words.js";

const MOST_HOLES = 2; // in words, beside the strip that has them all

export const data = {
  title: () => "Data",
  panels: ["coverage", "latency"],
  streams: () => ["gaps"],
  open(root, page) {
    root.append(
      el("div", { class: "tiles" },
        card("exchanges", "Exchanges", "", scroll("exchanges", "No candles yet", "scroll whole")),
        card("latency", "Latency", "of the newest ticks, by stage", scroll("latency", "No ticks yet", "scroll whole"))),
      card("sources", "Sources", "what is told beside candles", el("div", { class: "tile" }, el("ul", { id: "sources", class: "sources", "aria-labelledby": "sources-title" }))),
      card("gaps", "Gaps", "the newest; a filled one has its candles by now", scroll("gaps", "No candle has been missing")),
      card("coverage", "Coverage", "", scroll("coverage", "No candles yet")));
    let closed = false;
    const again = async () => {
      try {
        const found = await gapsOf(page.ask, "");
        if (!closed) gaps(found);
      } catch (error) {
        page.fail(error);
      }
    };
    status(page.status);
    return {
      again,
      status,
      frame: (channel) => channel === "gaps" && again(),
      panels: (payload) => {
        exchanges(payload.coverage, page.status);
        coverage(payload.coverage);
        latency(payload.latency);
      },
      close: () => {
        closed = true;
      },
    };
  },
};

function status({ sources }) {
  if (sources.length) sourceList("sources", sources);
  else show("sources", el("li", { class: "quiet" }, "No source is asked."));
}

function exchanges(rows, { freshness, speed }) {
  if (!rows?.length) return;
  const names = [...new Set(rows.map(({ exchange }) => exchange))];
  show("exchanges", table("Coverage and freshness of each exchange", ["Exchange", "Series", "Candles", "Coverage", "Gaps open", "Oldest prediction"], names.map((exchange) => {
    const own = rows.filter((row) => row.exchange === exchange);
    const sum = (name) => own.reduce((total, row) => total + row[name], 0);
    const ages = freshness.filter((row) => row.exchange === exchange);
    const late = ages.some(({ stale }) => stale);
    return { cells: [exchange, count(own.length), `${count(sum("present"))} of ${count(sum("expected"))}`, share(sum("present"), sum("expected")), count(sum("gaps")),
      ages.length ? el("span", { class: late ? "down" : "up" }, `${late ? "stale, " : ""}${span(Math.max(0, ...ages.map((row) => row.age_seconds)))}${speed === 1 ? "" : " of wall time"}`) : null] };
  }), { 1: "minor", 2: "minor" }));
}

const share = (present, expected) => el("span", { class: present < expected ? "warn" : "" }, percent(present / expected, present < expected ? 2 : 0));

function coverage(rows) {
  if (!rows?.length) return;
  const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
  put($("coverage-note"), `${count(sum("present"))} of ${count(sum("expected"))} candles`);
  const worst = [...rows].sort((a, b) => (b.expected - b.present) - (a.expected - a.present));
  show("coverage", table("Coverage of each series, what misses most first", ["Instrument", "Timeframe", "Newest candles", "Missing", "Gaps"], worst.map((row) => ({ cells: [
    el("span", {}, el("a", { href: toInstrument(row, row.timeframe) }, row.symbol), el("span", { class: "quiet small" }, ` ${row.exchange}`)), row.timeframe, row.newest ? strip(row) : null,
    el("span", { class: row.expected > row.present ? "warn" : "", title: `since ${moment(row.first_close)}` }, count(row.expected - row.present)), count(row.gaps),
  ] })), { 1: "text minor", 2: "text" }));
}

function strip({ newest: row }) {
  const [begin, end] = [seconds(row.from), seconds(row.to)];
  const holes = row.holes.map((hole) => `${moment(hole.from)} to ${moment(hole.to)} ${inWords(hole.state)}`);
  const rects = row.holes.map((hole) => {
    const x = 120 * (seconds(hole.from) - begin) / (end - begin);
    const width = Math.max(2, 120 * (seconds(hole.to) - seconds(hole.from)) / (end - begin));
    return svg("rect", { class: hole.state, x: Math.min(x, 120 - width), width, height: 10 });
  });
  const title = [`${count(row.present)} of the newest ${count(row.expected)} candles`, ...holes].join("; ");
  const words = holes.length > MOST_HOLES ? [...holes.slice(-MOST_HOLES).reverse(), `${holes.length - MOST_HOLES} more`] : holes.reverse();
  return el("div", {}, drawing({ class: "strip", viewBox: "0 0 120 10", preserveAspectRatio: "none" }, title,
    svg("rect", { class: "there", width: 120, height: 10 }), ...rects),
  " ", percent(row.present / row.expected, 1), ...words.map((text) => el("div", { class: "warn small" }, text)));
}

function gaps(rows) {
  const missing = rows.filter(({ state }) => state !== "filled").length;
  put($("gaps-note"), rows.length ? `the newest ${count(rows.length)}; of ${count(missing)} candles are still missing` : "");
  if (!rows.length) return;
  show("gaps", table("Stretches of missing candles, the newest first", ["Instrument", "Timeframe", "From", "To", "State", "Cause", "Noticed", "Filled"], rows.map((row) => ({ cells: [
    el("a", { href: toInstrument(row, row.timeframe) }, row.symbol), row.timeframe, moment(row.from), moment(row.to),
    el("span", { class: row.state === "filled" ? "up" : "warn" }, inWords(row.state)), inWords(row.cause), moment(row.detected_at), row.filled_at ? moment(row.filled_at) : "",
  ] })), { 1: "text minor", 2: "text", 3: "text minor", 4: "text", 5: "text", 6: "minor", 7: "minor" }));
}

function latency(rows) {
  if (!rows?.length) return;
  show("latency", table("Time that each stage of a tick takes", ["Stage", "Timeframe", "Median", "99 %", "Ticks"], rows.map((row) => ({ cells: [
    known(row.exchange) && new Set(rows.map(({ exchange }) => exchange)).size > 1 ? `${row.stage}, ${row.exchange}` : row.stage,
    row.timeframe, milliseconds(row.p50_us), milliseconds(row.p99_us), count(row.ticks),
  ] })), { 1: "text minor", 4: "minor" }));
}
