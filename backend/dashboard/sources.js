// How each source is doing, since when, and why.

import { el, show } from "/static/dom.js";
import { moment } from "/static/words.js";

const TONE = { ok: "good", stale: "wait", down: "bad", off: "" };

export function sourceList(id, sources) {
  show(id, ...sources.map((one) => el("li", {},
    el("span", { class: `badge ${TONE[one.state]}`, title: [`since ${moment(one.since)}`, one.reason].filter(Boolean).join(": ") },
      `${one.source.replaceAll("_", " ")}: ${one.state}${one.state !== "ok" && one.reason ? `, ${one.reason}` : ""}`))));
}
