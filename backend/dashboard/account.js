// The paper account: its equity beside holding everything and nothing, what is open, what that may lose.

import { $, el, show, svg, table } from "/static/dom.js";
import { count, inWords, known, moment, percent, seconds, signed } from "/static/words.js";

const WIDTH = 420, HEIGHT = 120;

export const gain = (value) => el("span", { class: value > 0 ? "up" : value < 0 ? "down" : "quiet" }, signed(value));

const money = (value) => value.toLocaleString("en-US", { maximumFractionDigits: Math.abs(value) < 100 ? 2 : 0 });

export function ledger(rows, view) {
  const chosen = (rows ?? []).filter((row) => row.timeframe === view.timeframe);
  if (!chosen.length) return;
  const [one] = chosen;
  $("ledger-note").textContent = `paper, no orders: ${money(one.capital)} ${one.currency} since ${moment(one.from)}, as of ${moment(one.as_of)}`;
  show("ledger", ...chosen.flatMap((row) => [
    ...(chosen.length > 1 ? [el("h3", {}, row.exchange)] : []),
    el("div", { class: "account" }, el("div", {}, curve(row), results(row)), el("div", {}, ...open(row)))]));
}

export function curve(row) {
  const points = row.curve;
  const [begin, end] = [seconds(points[0].at), seconds(points.at(-1).at)];
  const values = points.flatMap((each) => [each.equity, each.hold_equity]).concat(row.capital);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (at) => (end > begin ? WIDTH * (seconds(at) - begin) / (end - begin) : 0);
  const y = (value) => (high > low ? 4 + (HEIGHT - 8) * (high - value) / (high - low) : HEIGHT / 2);
  const path = (name) => points.map((each, index) => `${index ? "L" : "M"}${x(each.at).toFixed(1)} ${y(each[name]).toFixed(1)}`).join("");
  const title = `equity ${signed(row.return)}, buy and hold ${signed(row.benchmarks.buy_and_hold.return)}`;
  return svg("svg", { class: "equity", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
    svg("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(row.capital), y2: y(row.capital) }),
    svg("path", { class: "hold", d: path("hold_equity") }), svg("path", { class: "own", d: path("equity") }));
}

function results(row) {
  const { buy_and_hold: hold, flat } = row.benchmarks;
  const mark = (kind, text) => el("span", {}, el("i", { class: `key ${kind}` }), text);
  return table("The paper account beside holding everything and doing nothing", ["", "Equity", "Return", "Drawdown", "Exposure", "Turnover", "Costs"], [
    { kind: "served", cells: [mark("own", "Account"), money(row.equity), gain(row.return), el("span", { title: "the deepest so far" }, percent(row.max_drawdown)),
      el("span", { title: "in the mean of all closes" }, percent(row.mean_exposure, 0)), el("span", { title: "bought and sold, in capitals" }, `${row.turnover.toFixed(1)} ×`), money(row.fees + row.slippage + row.funding)] },
    { cells: [mark("hold", "Buy and hold"), money(hold.equity), gain(hold.return), percent(hold.max_drawdown), "100 %", "", ""] },
    { cells: [mark("zero", "Flat"), money(flat.equity), gain(flat.return), percent(flat.max_drawdown), "0 %", "", ""] },
  ], { 4: "minor", 5: "minor", 6: "minor" });
}

function open(row) {
  const refused = Object.entries(row.refused).map(([why, n]) => `${count(n)} refused: ${inWords(`refused.${why}`)}`);
  const taken = el("p", { class: "quiet small" }, [`${count(row.trades)} signals taken`, ...refused,
    ...(row.funding_not_charged ? [`${count(row.funding_not_charged)} fundings not charged: no rate is recorded`] : [])].join(" · "));
  if (!row.positions.length) return [el("p", { class: "empty" }, "Nothing is open."), taken];
  const { risk } = row;
  const words = known(risk)
    ? `In one candle it loses more than ${percent(risk.value_at_risk)} of the equity with ${percent(1 - risk.level, 0)} probability, then ${percent(risk.expected_shortfall)} in the mean (${risk.method}).`
    : "Too few candles are known to say what it may lose.";
  const symbols = row.positions.map((each) => each.symbol);
  const short = (symbol) => symbol.split("/")[0];
  const correlated = (place) => symbols.map((_, other) => (known(risk) && other !== place
    ? el("span", { title: `${symbols[place]} with ${symbols[other]}` }, risk.correlation[place][other].toFixed(2)) : ""));
  return [
    table("What the paper account holds, with correlations", ["Open", "Exposure", ...(known(risk) ? symbols.map(short) : [])],
      row.positions.map((each, place) => ({ cells: [each.symbol, gain(each.share), ...(known(risk) ? correlated(place) : [])] }))),
    el("p", { class: "quiet small" }, words), taken];
}
