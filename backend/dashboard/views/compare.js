// Two forecasters on the rows that both were scored on: by block, by slice, and what was decided about them.

import { $, card, drawing, el, put, scroll, show, svg, table, widthOf } from "/static/dom.js";
import { blocksPlot } from "/static/plots.js";
import { LOSSES, TARGETS } from "/static/skill.js";
import { count, figure, inWords, known, moment, percent } from "/static/words.js";

const SLICES = { instrument: "By instrument", volatility: "By volatility", hour: "By hour (UTC)" };

export const compare = {
  title: ({ route }) => `${route.asked.a} beside ${route.asked.b}`,
  panels: [],
  streams: () => [],
  open(root, page) {
    const { a, b } = page.route.asked;
    root.append(
      el("p", {}, el("a", { href: "#/models" }, "← Models")),
      card("difference", `${a} beside ${b}`, "", el("div", { id: "difference", class: "tile" }, el("p", { class: "empty" }, "Comparing"))),
      card("blocks", "Losses by block", "", el("div", { id: "blocks", class: "tile" }, el("p", { class: "empty" }, "No block has rows of both"))),
      el("div", { class: "tiles" }, ...Object.entries(SLICES).map(([name, text]) => card(name, text, "", scroll(name, "No rows of both")))),
      card("decisions", "What was decided, and on what evidence", "", scroll("decisions", "Nothing was decided about either")));
    let closed = false;
    return {
      async again() {
        try {
          const [found] = await page.ask(`/v1/models/compare?${new URLSearchParams({ timeframe: page.timeframe, horizon: page.horizon, ...page.route.asked })}`);
          if (!closed) draw(found);
        } catch (error) {
          if (!closed) show("difference", el("p", { class: "warn" }, error.message));
        }
      },
      close: () => {
        closed = true;
      },
    };
  },
};

function draw({ a, b, target, loss_name: loss, losses, blocks, slices, decisions }) {
  put($("difference-note"), `${TARGETS[target]}, ${LOSSES[loss]}: a smaller loss is better. Below, a is ${a} and b is ${b}.`);
  show("difference",
    el("p", {}, el("b", {}, verdict(a, b, losses))),
    el("p", {}, `${a} ${figure(losses.a)} · ${b} ${figure(losses.b)} · difference ${figure(losses.difference)}`,
      losses.interval95 ? `, 95 %: ${losses.interval95.map(figure).join(" to ")}` : ", too few blocks for an interval",
      el("span", { class: "quiet" }, ` · n ${count(losses.count)} rows in ${count(losses.n_blocks)} blocks of twice the horizon`)));
  if (blocks.length) show("blocks", ...blocksPlot(blocks, a, b, widthOf("blocks")));
  for (const [name, rows] of Object.entries(slices)) if (rows.length) show(name, slice(name, rows, a, b));
  if (decisions.length) {
    show("decisions", table("Decisions that named one of them", ["At", "Who", "Verdict", "Because of", "In words"], decisions.map((row) => ({ cells: [
      moment(row.decided_at), `${row.name} ${row.challenger_version ?? row.champion_version ?? ""}`, inWords(row.verdict), inWords(row.trigger),
      el("span", {}, row.words ?? "nothing was said", el("details", {}, el("summary", { class: "quiet small" }, "numbers"), el("pre", { class: "small" }, JSON.stringify(row.evidence, null, 1))))] })),
    { 1: "text", 2: "text", 3: "text minor", 4: "title" }));
  }
}

function verdict(a, b, { difference, interval95 }) {
  if (!known(difference)) return "They were never scored on the same rows: nothing can be said.";
  if (!interval95) return "Too few blocks to say which is better.";
  const [low, high] = interval95;
  return high < 0 ? `${a} lost less.` : low > 0 ? `${b} lost less.` : "Neither is proven better than the other.";
}

function slice(kind, rows, a, b) {
  const widest = Math.max(...rows.flatMap((row) => row.interval95 ?? [row.difference ?? 0]).map(Math.abs), 1e-12);
  return table(`${SLICES[kind]}: ${a} and ${b}`, ["", "Rows", "a", "b", "a − b, 95 %"], rows.map((row) => ({ cells: [
    kind === "hour" ? `${String(row.name).padStart(2, "0")}:00` : row.name,
    count(row.count), figure(row.a), figure(row.b), reach(row, widest)] })), { 2: "minor", 3: "minor", 4: "interval" });
}

// Left of the middle `a` lost less.
function reach(row, widest) {
  if (!known(row.difference)) return null;
  const x = (value) => 65 + 60 * Math.max(-1, Math.min(1, value / widest));
  const [low, high] = row.interval95 ?? [row.difference, row.difference];
  const kind = !row.interval95 ? "" : high < 0 ? "above" : low > 0 ? "below" : "";
  const share = row.b ? ` (${percent(row.difference / row.b, 1)} of the other's loss)` : "";
  return drawing({ class: `whisker ${kind}`, viewBox: "0 0 130 14" },
    `${figure(row.difference)}${share}, ${row.interval95 ? `95 %: ${row.interval95.map(figure).join(" to ")}` : "too few blocks for an interval"}`,
    svg("line", { class: "zero", x1: 65, x2: 65, y1: 0, y2: 14 }), svg("line", { x1: x(low), x2: x(high), y1: 7, y2: 7, "stroke-width": 2 }), svg("circle", { cx: x(row.difference), cy: 7, r: 3 }));
}
