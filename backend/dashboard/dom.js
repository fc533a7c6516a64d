// Elements from plain descriptions. Text is always text: nothing is parsed as HTML.

import { NOT_KNOWN } from "/static/words.js";

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value ?? "";
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A drawing with words for who does not see it, and for who points at it.
export function drawing(attributes, title, ...children) {
  const label = svg("title");
  label.textContent = title;
  return svg("svg", { role: "img", "aria-label": title, ...attributes }, label, ...children);
}

export function show(id, ...children) {
  $(id).replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// Room for a drawing in a tile, in px.
export const widthOf = (id) => Math.max(280, $(id).clientWidth - 24);

// Write a text only where it is another.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A region of a view, named by its heading.
export function card(id, title, note, ...children) {
  return el("section", { class: "card", id: `${id}-card`, "aria-labelledby": `${id}-title` },
    el("header", {}, el("h2", { id: `${id}-title` }, title), el("span", { id: `${id}-note`, class: "quiet" }, note ?? "")),
    ...children);
}

// A box that scrolls by itself can be reached and scrolled by the keyboard.
export const scroll = (id, waiting, kind = "scroll") =>
  el("div", { id, class: kind, tabindex: "0", role: "region", "aria-labelledby": `${id}-title` }, el("p", { class: "empty" }, waiting));

// rows: { kind, cells }; a group's only cell heads what follows; a cell may be an element
export function table(caption, headings, rows, classes = []) {
  const cell = (tag, content, index) =>
    el(tag, { class: classes[index], scope: tag === "th" ? "col" : undefined }, content ?? unknown());
  return el("table", {}, el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, ...headings.map((heading, index) => cell("th", heading, index)))),
    el("tbody", {}, ...rows.map(({ kind, cells }) =>
      el("tr", { class: kind ?? "" }, ...(kind === "group"
        ? [el("th", { colspan: headings.length, scope: "colgroup" }, ...cells)]
        : cells.map((content, index) => cell("td", content, index)))))));
}

export const unknown = () => el("span", { class: "quiet small" }, NOT_KNOWN);

export function odds(row) {
  const bar = el("span", { class: "odds", role: "img" });
  paintOdds(bar, row);
  return bar;
}

// Only colours change, so that nothing is laid out again.
export function paintOdds(bar, row) {
  const known = row && row.p_up !== null && row.p_up !== undefined;
  const title = known ? `down ${pc(row.p_down)}, flat ${pc(row.p_flat)}, up ${pc(row.p_up)}` : "odds not known";
  if (bar.title === title) return;
  bar.title = title;
  bar.setAttribute("aria-label", title);
  bar.classList.toggle("none", !known);
  if (!known) return;
  bar.style.setProperty("--a", `${100 * row.p_down}%`);
  bar.style.setProperty("--b", `${100 * (row.p_down + row.p_flat)}%`);
}

const pc = (share) => `${Math.round(100 * share)} %`;
