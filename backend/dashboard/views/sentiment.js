// What people write, what it scores, and how the sources of it are doing.

import { $, card, el, put, scroll, show, table } from "/static/dom.js";
import { sourceList } from "/static/sources.js";
import { count, known, moment, seconds, span } from "/static/words.js";

const TEXTS = 100;
const READ_MS = 20_000; // between two looks at the texts
export const sentiment = {
  title: () => "Sentiment",
  panels: ["sentiment"],
  streams: () => [],
  open(root, page) {
    const view = new View(page);
    root.append(
      card("mood", "Mood", "", el("div", { class: "tile" }, el("ul", { id: "sources", class: "sources", "aria-label": "Sources" })),
        el("p", { class: "quiet small" }, "Fear & Greed index: ", el("a", { href: "https://alternative.me/crypto/fear-and-greed-index/", rel: "noopener" }, "alternative.me"), ".")),
      card("assets", "By asset", "of the texts below", scroll("assets", "No text yet")),
      card("texts", "News", "score: −1 (bad for holders) to +1, by the words alone", el("p", { class: "tools" }, el("label", {}, "Of ", view.choice)), scroll("texts", "No text yet", "scroll whole")));
    return view;
  },
};

class View {
  constructor(page) {
    this.page = page;
    this.choice = el("select", { onchange: () => this.draw() }, el("option", { value: "" }, "all assets"));
    this.texts = [];
    this.timer = setInterval(() => this.again(), READ_MS);
  }

  async again() {
    this.status(this.page.status);
    try {
      const texts = await this.page.ask(`/v1/sentiment?limit=${TEXTS}`);
      if (this.closed) return;
      this.texts = texts;
      this.draw();
      this.assets();
    } catch (error) {
      this.page.fail(error);
    }
  }

  status({ sources }) {
    if (sources.length) sourceList("sources", sources);
    else show("sources", el("li", { class: "quiet" }, "No source is asked."));
  }

  panels({ sentiment: payload }) {
    if (!payload) return;
    const index = payload.fear_greed;
    const age = index && span(Math.max(0, seconds(this.page.market.now) - seconds(index.event_time)));
    put($("mood-note"), [
      index ? `Fear & Greed ${Math.round(index.value)}, ${age} old` : "Fear & Greed not known",
      this.page.status.market === "simulated" ? "simulated: nobody wrote these, and they follow no price" : null,
    ].filter(Boolean).join(" · "));
  }

  // Means of the scores that are known, each text once for every asset that it speaks of.
  assets() {
    const of = new Map();
    for (const { scores } of this.texts) {
      for (const { asset, polarity } of scores) of.set(asset ?? "market", [...(of.get(asset ?? "market") ?? []), polarity]);
    }
    const lines = [...of.entries()].sort((a, b) => b[1].length - a[1].length);
    if (!lines.length) return;
    show("assets", table("Scores of the newest texts by asset", ["Of", "Texts", "With a score", "Mean score"], lines.map(([asset, all]) => {
      const told = all.filter(known);
      return { cells: [asset, count(all.length), count(told.length), told.length ? score(told.reduce((sum, each) => sum + each, 0) / told.length) : null] };
    })));
  }

  draw() {
    const assets = [...new Set(this.texts.flatMap(({ scores }) => scores.map(({ asset }) => asset)).filter(Boolean))].sort();
    const chosen = this.choice.value;
    if (this.choice.dataset.said !== assets.join()) {
      this.choice.dataset.said = assets.join();
      this.choice.replaceChildren(el("option", { value: "" }, "all assets"), ...assets.map((asset) => el("option", { value: asset }, asset)));
      this.choice.value = assets.includes(chosen) ? chosen : "";
    }
    const shown = this.texts.filter(({ scores }) => !this.choice.value || scores.some(({ asset }) => asset === this.choice.value));
    put($("texts-note"), `score: −1 (bad for holders) to +1, by the words alone · the newest ${count(shown.length)}`);
    if (shown.length) show("texts", table("Texts, the newest first", ["Published", "Source", "Of", "Score", "Title"], shown.map((row) => line(row, this.page.status)), ["", "text minor", "text", "", "title"]));
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
  }
}

function line(row, { market }) {
  const assets = row.scores.map(({ asset }) => asset).filter(Boolean);
  const link = market !== "simulated" && /^https?:/.test(row.url ?? "");
  const title = row.title === null ? el("span", { class: "quiet" }, "text forgotten")
    : link ? el("a", { href: row.url, rel: "noopener noreferrer" }, row.title) : row.title;
  return { cells: [moment(row.published_at), row.source.replaceAll("_", " "), assets.join(" ") || "market", score(row.scores[0]?.polarity), title] };
}

const score = (value) => el("span", { class: value > 0.1 ? "up" : value < -0.1 ? "down" : "quiet" },
  known(value) ? `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}` : "no known word");
