// One entry a signal, of its newest state, the newest first.

import { el, show } from "/static/dom.js";
import { detail, side } from "/static/parts.js";
import { toInstrument } from "/static/routes.js";
import { known, nameOf, seconds, signed } from "/static/words.js";

const KEPT = 300;
const SHOWN = 80;

export class Feed {
  constructor() {
    this.events = [];
  }

  told(row, at, fresh) {
    const key = [nameOf(row), row.as_of, row.revision].join();
    this.events = [{ key, row, at, fresh }, ...this.events.filter((each) => each.key !== key)].slice(0, KEPT);
  }

  // What is answered of the past may be older than what came meanwhile.
  past(rows) {
    const newer = this.events.reverse();
    this.events = [];
    for (const row of rows.reverse()) this.told(row, row.closed_at ?? row.as_of, false);
    for (const { row, at } of newer) this.told(row, at, false);
    this.events.sort((a, b) => seconds(b.at) - seconds(a.at));
  }

  draw(id, waiting) {
    const shown = this.events.filter(({ row }) => row.side !== "flat").slice(0, SHOWN);
    show(id, ...(shown.length ? shown.map(entry) : [el("p", { class: "empty" }, waiting)]));
    for (const each of this.events) each.fresh = false;
  }
}

function entry({ row, at, fresh }) {
  return el("div", { class: fresh ? "event fresh" : "event" },
    side(row), el("a", { href: toInstrument(row, row.timeframe) }, row.symbol),
    el("span", { class: row.realized_return > 0 ? "up" : row.realized_return < 0 ? "down" : "" },
      known(row.realized_return) ? signed(row.realized_return) : row.status.replaceAll("_", " ")),
    el("span", { class: "quiet" }, ...detail(row, at).map((text) => el("span", {}, text))));
}
