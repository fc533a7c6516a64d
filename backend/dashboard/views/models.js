// How the forecasters do: scores and how they went, calibration, who has which weight, what was decided.

import { $, card, el, put, scroll, show, table, widthOf } from "/static/dom.js";
import { allEvents } from "/static/past.js";
import { calibrationPlot, daysPlot } from "/static/plots.js";
import { toComparison } from "/static/routes.js";
import { LOSSES, TARGETS, whisker } from "/static/skill.js";
import { count, figure, inWords, known, moment, percent, seconds, signed, span, stepOf } from "/static/words.js";

const READ_MS = 15_000; // between two looks at what no stream tells
const VERSIONS = 200;
const EVENTS_SHOWN = 100;
const RECORDS = { live: "Live record", late: "Said late", backtest: "Backtest over history" };
const ORDER = { champion: 0, member: 1, challenger: 2 };

export const models = {
  title: () => "Models",
  panels: ["model_scores"],
  streams: () => ["models"],
  open(root, page) {
    const view = new View(page);
    root.append(
      card("scores", "Scores", "loss against the baseline, newest 60 days; skill above 0 is better than the baseline", scroll("scores", "Nothing is scored yet", "scroll whole")),
      card("days", "Scores over time", "", el("p", { class: "tools" }, el("label", {}, "Target ", view.target)), el("div", { id: "days", class: "tile" }, el("p", { class: "empty" }, "No whole day is scored yet"))),
      el("div", { class: "pair" },
        card("calibration", "Calibration of direction", "", el("div", { id: "calibration", class: "tile" }, el("p", { class: "empty" }, "Nothing is scored yet"))),
        card("pool", "Pool weights", "now", scroll("pool", "No pool speaks yet"))),
      card("versions", "Versions", "tick two of the same target to compare them", el("p", { class: "tools" }, view.compared), scroll("versions", "Nothing is fitted yet")),
      el("div", { class: "pair" },
        card("champions", "Who took which place, and why", "", scroll("champions", "Nothing is decided yet")),
        card("drift", "Drift", "", scroll("drift", "No trigger has fired"))));
    return view;
  },
};

class View {
  constructor(page) {
    this.page = page;
    this.target = el("select", { onchange: () => this.again() }, ...Object.entries(TARGETS).map(([value, text]) => el("option", { value }, text)));
    this.compared = el("a", { class: "action", "aria-disabled": "true", role: "link" }, "Compare");
    this.chosen = [];
    this.timer = setInterval(() => this.again(), READ_MS);
  }

  async again() {
    const { ask, timeframe, horizon } = this.page;
    const of = `timeframe=${timeframe}&horizon=${horizon}`;
    try {
      const [days, bins, pool, versions, events, first] = await Promise.all([
        ask(`/v1/scores/days?${of}&target=${this.target.value}`), ask(`/v1/scores/calibration?${of}`), ask("/v1/models/pool").catch(() => []),
        ask(`/v1/models?${of}&limit=${VERSIONS}`), allEvents(ask, this.page), ask(`/v1/predictions?${of}&limit=1&order=asc`)]);
      if (this.closed) return;
      this.first = first.find(({ origin }) => origin === "live")?.as_of ?? this.first;
      this.scores();
      this.over(days);
      this.calibrated(bins);
      this.weights(pool.filter((row) => row.timeframe === timeframe && row.horizon === horizon));
      this.versions(versions);
      this.decided(events);
    } catch (error) {
      this.page.fail(error);
    }
  }

  frame(channel) {
    if (channel === "models") this.again();
  }

  panels(payload) {
    this.record = payload.model_scores;
    this.scores();
  }

  scores() {
    const { timeframe, horizon, market } = this.page;
    scores(this.record, { timeframe, horizon, first: this.first, now: market.now });
  }

  over(days) {
    if (days.length) show("days", ...daysPlot(days, widthOf("days")));
  }

  calibrated(bins) {
    if (!bins.length) return;
    show("calibration", ...calibrationPlot(bins));
  }

  weights(rows) {
    if (!rows.length) return;
    const several = new Set(rows.map(({ exchange }) => exchange)).size > 1;
    show("pool", table("Weight of each member in its pool", ["Member", "Target", "Weight", ""], rows.map((row) => ({ cells: [
      several ? `${row.model} · ${row.exchange}` : row.model, TARGETS[row.target], percent(row.weight, 1), bar(row.weight)] })), { 1: "text minor", 3: "text" }));
  }

  versions(rows) {
    if (!rows.length) return;
    const boxes = $("versions").querySelectorAll("input").length;
    if (boxes && $("versions").contains(document.activeElement)) return; // somebody is choosing
    show("versions", table("Fitted versions, the newest first", ["", "Model", "Target", "Role", "Status", "Trained until", "Speaks from", "Rows", "Effective", "Feature set"], rows.map((row) => {
      const name = `${row.model}@${row.version}`;
      const place = { name, target: row.target, exchange: row.exchange };
      return { kind: row.role === "member" ? "served" : "", cells: [
        el("input", { type: "checkbox", "aria-label": `compare ${name}`, checked: this.chosen.some((each) => each.name === name) ? "" : null, onchange: (event) => this.choose(place, event.target) }),
        name, TARGETS[row.target] ?? row.target, row.role ?? "", row.status, moment(row.trained_until), row.effective_from ? moment(row.effective_from) : "has not spoken", count(row.n_train), count(row.n_effective), row.feature_set] };
    }), { 1: "text", 2: "text minor", 3: "text", 4: "text minor", 5: "minor", 7: "minor", 8: "minor", 9: "minor text" }));
  }

  // Two at most, of one target and exchange: a third takes the place of the first.
  choose(place, box) {
    this.chosen = this.chosen.filter(({ name, target, exchange }) => name !== place.name && (!box.checked || (target === place.target && exchange === place.exchange)));
    if (box.checked) this.chosen = [...this.chosen, place].slice(-2);
    for (const each of $("versions").querySelectorAll("input")) {
      each.checked = this.chosen.some(({ name }) => each.getAttribute("aria-label") === `compare ${name}`);
    }
    const [a, b] = this.chosen;
    const { timeframe, horizon } = this.page;
    if (b) this.compared.href = toComparison({ a: a.name, b: b.name, exchange: a.exchange, timeframe, horizon });
    else this.compared.removeAttribute("href");
    this.compared.setAttribute("aria-disabled", String(!b));
    put(this.compared, b ? `Compare ${a.name} with ${b.name}` : "Compare");
  }

  decided(events) {
    const rows = events.filter(({ kind }) => kind !== "drift" && kind !== "trained").slice(0, EVENTS_SHOWN);
    const drift = events.filter(({ kind }) => kind === "drift").slice(0, EVENTS_SHOWN);
    if (rows.length) show("champions", decisions("Decisions about places, the newest first", rows));
    if (drift.length) show("drift", decisions("Triggers of drift that fired, the newest first", drift));
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
  }
}

const decisions = (caption, rows) => table(caption, ["At", "What", "Who", "Why"], rows.map((row) => ({ cells: [
  moment(row.at), inWords(row.kind), `${row.model} ${row.version}`.trim(), el("span", { class: "quiet small" }, row.detail)] })), { 1: "text", 2: "text", 3: "title" });

function bar(share) {
  const part = el("i", { class: "share", "aria-hidden": "true" });
  part.style.width = `${Math.round(100 * share)}%`;
  return el("span", { class: "shared" }, part);
}

// Of the timeframe and horizon that are looked at; what was said live first, and apart from the rest.
function scores(rows, view) {
  const chosen = (rows ?? []).filter((row) => row.timeframe === view.timeframe && row.horizon === view.horizon);
  if (!chosen.length) return show("scores", el("p", { class: "empty" }, awaited(view)));
  const exchanges = new Set(chosen.map((row) => row.exchange));
  const widest = 1.15 * Math.max(0.01, ...chosen.flatMap((row) => row.skill_interval95 ?? [row.skill ?? 0]).map(Math.abs));
  const groups = new Map();
  const place = (row) => [Object.keys(RECORDS).indexOf(row.origin), Object.keys(TARGETS).indexOf(row.target), row.exchange].join();
  for (const row of [...chosen].sort((a, b) => (place(a) < place(b) ? -1 : 1))) {
    const where = exchanges.size > 1 ? `${row.exchange} · ` : "";
    const key = place(row);
    const name = `${RECORDS[row.origin] ?? row.origin} · ${where}${TARGETS[row.target]} · ${LOSSES[row.loss_name] ?? row.loss_name}`;
    if (!groups.has(key)) groups.set(key, { name, rows: [] });
    groups.get(key).rows.push(row);
  }
  const record = (caption, live) => {
    const some = [...groups.values()].filter((group) => (group.rows[0].origin === "live") === live);
    return some.length ? table(caption, HEADINGS, some.flatMap(({ name, rows: own }) => [{ kind: "group", cells: [name] }, ...ranked(own, Math.min(widest, 1))]),
      { 1: "text minor", 3: "minor", 4: "minor", 5: "minor", 7: "interval" }) : null;
  };
  const [live, rest] = [record("Track record of what was said live", true), record("Track record of what was said late, and over history", false)];
  const open = $("scores").querySelector("details")?.open ?? !live;
  return show("scores", live ?? el("p", { class: "empty" }, awaited(view)),
    rest && el("details", { class: "tile", open: open ? "" : null }, el("summary", {}, "Said late, and over history: these decide nothing"), rest));
}

const HEADINGS = ["Model", "Role", "Count", "Effective", "Loss", "Baseline", "Skill", "95 %"];

const ranked = (rows, widest) => rows.sort((a, b) => ORDER[a.role] - ORDER[b.role] || (b.skill ?? -9) - (a.skill ?? -9))
  .map((row) => ({ kind: row.role === "champion" ? "served" : "", cells: line(row, widest) }));

function line(row, widest) {
  return [row.model, row.role, count(row.count), count(row.effective_count), figure(row.loss),
    `${row.baseline.split(".")[0]} ${figure(row.baseline_loss)}`,
    known(row.skill) ? signed(row.skill) : el("span", { class: "quiet" }, "baseline"), known(row.skill) ? whisker(row, widest) : ""];
}

function awaited({ first, timeframe, horizon, now }) {
  const why = "A prediction is scored against what came true when its whole horizon has passed";
  if (!first) return `Nothing live is scored yet. ${why}; the first live one is still to come.`;
  const end = new Date(1000 * (seconds(first) + horizon * stepOf(timeframe))).toISOString();
  const state = now >= end ? "its score is being written" : `that is ${span(seconds(end) - seconds(now ?? first))} of market time from now`;
  return `Nothing live is scored yet. ${why}: the first, of ${moment(first)}, at ${moment(end)}; ${state}. `
    + "A signal may end earlier, at its stop or take: that return is not yet a score.";
}
