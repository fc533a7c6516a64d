// The top of the page: which market this is, how fresh, what still loads, and how the link is.

import { $, el, put, show } from "/static/dom.js";
import { VIEWS, toView } from "/static/routes.js";
import { count, span } from "/static/words.js";

const NOTES_SHOWN = 160; // characters
const KINDS = { simulated: "SIMULATED MARKET", recorded: "RECORDED MARKET, REPLAYED", live: "LIVE MARKET" };
const ORIGINS = {
  simulated: "Every price here is made up by a seeded generator with a planted signal; nothing is traded and nothing is quoted.",
  recorded: "These candles were recorded earlier and are played again; nothing here happens now.",
};

export function nav(current) {
  show("views", ...VIEWS.map((view) => el("a", {
    href: toView(view), "aria-current": view === current || (view === "models" && current === "compare") ? "page" : null,
  }, view[0].toUpperCase() + view.slice(1))));
}

export function link(name, detail) {
  const [text, tone] = {
    connecting: ["connecting", "wait"], catching: [`catching up: ${count(detail)} streams`, "wait"], live: ["live", "good"],
    waiting: [`waiting: ${detail}`, "wait"], stopping: ["the server stops", "wait"],
    lost: ["connection lost, trying again", "bad"], refused: [`refused: ${detail}`, "bad"],
  }[name];
  put($("link"), text);
  $("link").className = `badge ${tone}`;
}

const WHY = {
  epoch_changed: "its log began anew", offset_expired: "the log no longer holds what was missed",
  not_as_it_was: "its log was edited", too_far: "too much was missed", unknown_offset: "the log has less than was heard",
};

// What an outage cost: nothing, or what had to be loaded anew, and why.
export function resumed({ events, lost }, at) {
  const why = [...new Set(lost.map(({ reason }) => WHY[reason] ?? reason))].join("; ");
  put($("resumed"), lost.length
    ? `not resumed, loaded anew: ${count(lost.length)} streams (${why})`
    : `resumed: ${count(events)} event${events === 1 ? "" : "s"}`);
  $("resumed").title = `at ${at.toLocaleTimeString()}: ${lost.length ? "what was missed is not shown" : "all that was missed was told again"}`;
  $("resumed").hidden = false;
}

export function trouble(text) {
  put($("trouble"), text ?? "");
  $("trouble").hidden = !text;
}

export function clock(now) {
  put($("clock"), now ? `${now.slice(0, 16).replace("T", " ")} UTC` : "");
}

export function choices(id, values, chosen, onChoice) {
  const box = $(id);
  if (box.dataset.values !== values.join()) {
    box.dataset.values = values.join();
    box.replaceChildren(...values.map((value) => el("option", { value }, String(value))));
  }
  box.onchange = () => onChoice(box.value);
  if (chosen !== null) box.value = String(chosen);
  $(`${id}-choice`).hidden = values.length < 2;
}

export function header(status) {
  Object.assign($("market"), { textContent: KINDS[status.market], className: `badge ${status.market}`, hidden: false });
  put($("speed"), status.speed === 1 ? "" : `${status.speed.toLocaleString("en-US")}× real time`);
  about(ORIGINS[status.market], status.notes);
  const oldest = Math.max(0, ...status.freshness.map((each) => each.age_seconds));
  const [text, tone] = !status.ready ? ["starting", "wait"] : status.fresh ? [`fresh, ${span(oldest)}`, "good"] : [`stale, ${span(oldest)}`, "bad"];
  put($("freshness"), text);
  $("freshness").className = `badge ${tone}`;
  $("freshness").title = status.ready ? "wall time since the close that the oldest of the newest predictions is of" : "not every instrument has a prediction yet";
  loading(status);
}

// Long notes are folded behind their beginning; what somebody opened stays open.
function about(origin, notes) {
  const said = notes.join("; ");
  if ($("about").dataset.said === `${origin} ${said}`) return;
  $("about").dataset.said = `${origin} ${said}`;
  $("about").hidden = !origin && !said;
  const open = Boolean($("about").querySelector("details[open]"));
  show("about", [origin, said.length > NOTES_SHOWN ? "" : said].filter(Boolean).join(" "),
    ...(said.length > NOTES_SHOWN ? [el("details", { open: open ? "" : null },
      el("summary", {}, `${said.slice(0, NOTES_SHOWN)}…`), el("ul", {}, ...notes.map((note) => el("li", {}, note))))] : []));
}

// What loads before the system is ready has bars; what it does afterwards moves nothing on the page.
function loading(status) {
  const amount = (each) => (each.total ? `${each.name}: ${count(each.done)} of ${count(each.total)}` : each.name);
  $("loading").hidden = status.ready || !status.progress.length;
  if (!$("loading").hidden) {
    show("loading", ...status.progress.map((each) => el("label", {}, amount(each),
      el("progress", each.total ? { max: each.total, value: each.done } : {}))));
  }
  put($("working"), status.ready ? status.progress.filter((each) => each.done < each.total).map(amount).join(" · ") : "");
}
