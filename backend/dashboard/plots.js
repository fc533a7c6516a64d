// Drawings of the record: lines over days, said against happened, losses of blocks.

import { drawing, el, svg } from "/static/dom.js";
import { LOSSES } from "/static/skill.js";
import { count, figure, percent, seconds, signed } from "/static/words.js";

const HEIGHT = 200, LEFT = 56, BOTTOM = 22, TOP = 8;
const SHADES = ["own", "hold", "third", "fourth", "fifth", "sixth"];
const MOST_LINES = SHADES.length;

// A line chart. lines: { name, points: [[x, y]] }, x in seconds; zero: a value that is marked
function chart(title, lines, { width, zero = null, tick = figure }) {
  const points = lines.flatMap((line) => line.points);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y).concat(zero === null ? [] : [zero])];
  const [begin, end, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = (value) => LEFT + (width - LEFT - 8) * (end > begin ? (value - begin) / (end - begin) : 0.5);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (high > low ? (high - value) / (high - low) : 0.5);
  const label = (at, place, anchor, text) => {
    const node = svg("text", { x: at, y: place, "text-anchor": anchor });
    node.textContent = text;
    return node;
  };
  const day = (value) => new Date(1000 * value).toISOString().slice(0, 10);
  return drawing({ class: "lines", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` }, title,
    ...[low, high].map((value) => label(LEFT - 6, y(value) + 4, "end", tick(value))),
    label(LEFT, HEIGHT - 5, "start", day(begin)), label(width - 8, HEIGHT - 5, "end", end > begin ? day(end) : ""),
    ...(zero === null ? [] : [svg("line", { class: "zero", x1: LEFT, x2: width - 8, y1: y(zero), y2: y(zero) })]),
    ...lines.map((line, place) => (line.points.length > 1
      ? svg("path", { class: SHADES[place], d: line.points.map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("") })
      : svg("circle", { class: `${SHADES[place]} dot`, cx: x(line.points[0][0]), cy: y(line.points[0][1]), r: 3 }))));
}

const legend = (lines) => el("ul", { class: "legend small" }, ...lines.map(({ name, note }, place) =>
  el("li", {}, el("i", { class: `key ${SHADES[place]}` }), name, note ? el("span", { class: "quiet" }, ` ${note}`) : null)));

// Skill of each day, live, of what is served and of the members that have said most.
export function daysPlot(rows, width) {
  const live = rows.filter(({ origin, role, model, baseline }) => origin === "live" && role !== "challenger" && model !== baseline);
  if (!live.length) return [el("p", { class: "empty" }, "Nothing was said live on a day that is scored")];
  const names = [...new Set(live.map((row) => [row.exchange, row.model].join(" ")))];
  const lines = names.map((name) => {
    const own = live.filter((row) => [row.exchange, row.model].join(" ") === name).sort((a, b) => (a.day < b.day ? -1 : 1));
    const n = own.reduce((sum, row) => sum + row.count, 0);
    return { name: own[0].model, n, note: `n ${count(n)}, against ${own[0].baseline}`, served: own[0].role === "champion",
      points: own.map((row) => [seconds(row.day), 1 - row.loss / row.baseline_loss]) };
  }).sort((a, b) => b.served - a.served || b.n - a.n).slice(0, MOST_LINES);
  const days = Math.max(...lines.map(({ points }) => points.length));
  return [
    chart(`Skill by day of ${lines.map(({ name }) => name).join(", ")}`, lines, { width, zero: 0, tick: (value) => signed(value, 1) }), legend(lines),
    el("p", { class: "quiet small" }, `Skill in ${LOSSES[live[0].loss_name]} of ${count(days)} days (UTC) that were said live; above 0 is better than the baseline on that day. One day proves little: the table has the interval.`)];
}

// Of each class: how often it came where it was said with such a chance. On the diagonal is right.
export function calibrationPlot(bins) {
  const models = [...new Set(bins.map(({ model }) => model))];
  const chosen = models.includes("pool.direction") ? "pool.direction" : models[0];
  const rows = bins.filter(({ model }) => model === chosen);
  const side = 280, pad = 44;
  const place = (value) => pad + (side - pad - 24) * value;
  const most = Math.max(...rows.map((row) => row.count));
  const said = (row) => `${row.class}: said ${percent(row.said, 0)}, came ${percent(row.happened, 0)}, n ${count(row.count)}`;
  const dots = rows.map((row) => drawing({ x: 0, y: 0, role: "presentation" }, said(row),
    svg("circle", { class: row.class, cx: place(row.said), cy: side - place(row.happened), r: 2 + 6 * Math.sqrt(row.count / most) })));
  const labels = [[0, "0"], [0.5, "50 %"], [1, "100 %"]].flatMap(([value, text]) => {
    const below = svg("text", { x: place(value), y: side - pad + 16, "text-anchor": "middle" });
    const beside = svg("text", { x: pad - 6, y: side - place(value) + 4, "text-anchor": "end" });
    below.textContent = beside.textContent = text;
    return [below, beside];
  });
  const off = rows.reduce((sum, row) => sum + row.count * Math.abs(row.said - row.happened), 0) / rows.reduce((sum, row) => sum + row.count, 0);
  const n = rows.filter((row) => row.class === "up").reduce((sum, row) => sum + row.count, 0);
  return [el("div", { class: "calibration" },
    drawing({ class: "square", viewBox: `0 0 ${side} ${side}` }, `Calibration of ${chosen}: ${rows.map(said).join("; ")}`,
      svg("line", { class: "zero", x1: place(0), y1: side - place(0), x2: place(1), y2: side - place(1) }), ...labels, ...dots),
    el("div", {}, el("p", {}, el("b", {}, chosen), ` · n ${count(n)}`), el("p", {}, `Off by ${percent(off, 1)} in the mean`),
      el("ul", { class: "legend small" }, ...["down", "flat", "up"].map((name) => el("li", {}, el("i", { class: `key ${name}` }), name))),
      el("p", { class: "quiet small" }, "Across: the chance that was said, live. Up: how often it came. On the line it came as often as was said; a larger dot is of more rows.")))];
}

export const blocksPlot = (blocks, a, b, width) => {
  const lines = [["a", a], ["b", b]].map(([name, text]) => ({ name: text, points: blocks.map((block) => [seconds(block.from), block[name]]) }));
  return [chart(`Loss by block of ${a} and ${b}`, lines, { width }), legend(lines)];
};
