// Skills with what makes them accountable: the baseline, the count, the interval.

import { drawing, el, svg } from "/static/dom.js";
import { count, known, signed } from "/static/words.js";

export const LOSSES = { log_loss: "log loss", pinball: "pinball loss", qlike: "QLIKE" };
export const TARGETS = { direction: "Direction", quantiles: "Quantiles", volatility: "Volatility" };

const tone = (interval) => (!interval ? "" : interval[0] > 0 ? "above" : interval[1] < 0 ? "below" : "");

export const interval = (row) => (row.skill_interval95
  ? `95 %: ${signed(row.skill_interval95[0])} to ${signed(row.skill_interval95[1])}` : "too few days for an interval");

export function whisker(row, widest) {
  if (!row.skill_interval95) return el("span", { class: "quiet small" }, "too few days");
  const x = (value) => 65 + 60 * Math.max(-1, Math.min(1, value / widest));
  const [low, high] = row.skill_interval95;
  return drawing({ class: `whisker ${tone([low, high])}`, viewBox: "0 0 130 14" }, `${signed(row.skill)}, ${interval(row)}`,
    svg("line", { class: "zero", x1: 65, x2: 65, y1: 0, y2: 14 }),
    svg("line", { x1: x(low), x2: x(high), y1: 7, y2: 7, "stroke-width": 2 }), svg("circle", { cx: x(row.skill), cy: 7, r: 3 }));
}

// One target of what is served: a line of the overview.
export function skillOf(row) {
  const kind = { above: "up", below: "down" }[tone(row.skill_interval95)] ?? "";
  return el("p", { class: "skill" }, el("b", {}, TARGETS[row.target]), " ",
    el("span", { class: kind }, known(row.skill) ? signed(row.skill) : "not known"), " ",
    el("span", { class: "quiet small" }, `${interval(row)} · against ${row.baseline.split(".")[0]} · n ${count(row.count)}`));
}
