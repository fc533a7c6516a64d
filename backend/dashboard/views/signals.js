// Every signal as it comes, what holds the flat ones back, and what those that were taken earned.

import { ledger } from "/static/account.js";
import { $, card, el, put, scroll, show, table } from "/static/dom.js";
import { Feed } from "/static/feed.js";
import { gates, side } from "/static/parts.js";
import { count, inWords, known, meaning, nameOf, percent, signed } from "/static/words.js";

const PAST = 60; // entries of the feed
const CLOSED = 1_000; // signals of the track record

export const signals = {
  title: () => "Signals",
  panels: ["ledger"],
  streams: ({ timeframe }) => [`signals.${timeframe}.*.*`],
  open(root, page) {
    const feed = new Feed();
    root.append(
      el("div", { class: "beside" },
        el("div", { class: "column" },
          card("ledger", "Paper account", "", scroll("ledger", "No account yet: it begins with the first live decision", "scroll whole")),
          card("ended", "Track record", "", scroll("ended", "No signal with a side has ended yet")),
          card("flat", "Flat now, and why", "", scroll("flat", "No signals yet: the first follow the first live predictions"))),
        card("feed", "Signals", "", el("div", { id: "feed", tabindex: "0", role: "region", "aria-labelledby": "feed-title" }, el("p", { class: "empty" }, "No signals yet")))));
    let closed = false;
    return {
      async again() {
        const of = `timeframe=${page.timeframe}&horizon=${page.horizon}&side=long,short`;
        try {
          const [newest, ended] = await Promise.all([ask(page, of, PAST), ask(page, `${of}&status=${ENDED.join()}`, CLOSED)]);
          if (closed) return;
          feed.past(newest);
          draw(feed, page);
          record(ended);
        } catch (error) {
          page.fail(error);
        }
      },
      frame: (channel, message) => channel === "signals" && feed.told(message.data, message.as_of, true),
      rows: () => draw(feed, page),
      panels: (payload) => ledger(payload.ledger, page),
      close: () => {
        closed = true;
      },
    };
  },
};

const ENDED = ["take_profit", "stop_loss", "expired", "withdrawn"];

const ask = (page, of, limit) => page.ask(`/v1/signals?${of}&limit=${limit}`);

function draw(feed, { market }) {
  const newest = market.instruments.map((one) => market.of(nameOf(one)).signal).filter(Boolean);
  const flat = gates(newest);
  put($("feed-note"), newest.length ? `${newest.length - flat.reduce((sum, [, n]) => sum + n, 0)} of ${newest.length} take a side` : "");
  feed.draw("feed", newest.length ? "No signal has taken a side yet. A flat one says what held it back; each close is decided anew."
    : "No signals yet: the first follow the first live predictions.");
  if (!newest.length) return;
  show("flat", flat.length ? table("Gates that hold signals back at the newest close", ["Gate", "Instruments", "What it means"], flat.map(([gate, n]) => ({
    cells: [inWords(gate), count(n), el("span", { class: "quiet" }, meaning(gate))] })), { 2: "title" }) : el("p", { class: "empty" }, "Every signal takes a side at this close."));
}

// Beside doing nothing, which earns 0. Signals overlap, so that an interval of their mean would be too narrow.
function record(rows) {
  const entered = rows.filter((row) => known(row.realized_return));
  if (!entered.length) return;
  put($("ended-note"), `the newest ${count(entered.length)} that were entered and ended; net of costs, beside 0 for doing nothing`);
  const lines = ["long", "short"].map((name) => [side({ side: name }), entered.filter((row) => row.side === name)])
    .concat(ENDED.map((status) => [status.replaceAll("_", " "), entered.filter((row) => row.status === status)])).filter(([, some]) => some.length);
  show("ended", table("What ended signals earned", ["", "Signals", "Above 0", "Mean", "Worst", "Best"], [["All", entered], ...lines].map(([name, some]) => {
    const returns = some.map((row) => row.realized_return);
    const mean = returns.reduce((sum, each) => sum + each, 0) / returns.length;
    return { cells: [name, count(some.length), percent(returns.filter((each) => each > 0).length / returns.length, 0),
      el("span", { class: mean > 0 ? "up" : "down" }, signed(mean)), signed(Math.min(...returns)), signed(Math.max(...returns))] };
  })), el("p", { class: "quiet small" }, "Signals of one close, and of closes within a horizon, move together: their number says more than it proves. The interval of the skill is with the ", el("a", { href: "#/models" }, "models"), "."));
}
