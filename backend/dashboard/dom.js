// Elements from plain descriptions. Text is always text: nothing is parsed as HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
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

export function show(id, ...children) {
  $(id).replaceChildren(...children);
}

export function table(headings, rows, classes = []) {
  const cell = (tag, content, index) =>
    el(tag, { class: classes[index], scope: tag === "th" ? "col" : undefined }, content ?? "–");
  return el("table", {},
    el("thead", {}, el("tr", {}, ...headings.map((heading, index) => cell("th", heading, index)))),
    el("tbody", {}, ...rows.map(({ kind, cells }) =>
      el("tr", { class: kind ?? "" }, ...(kind === "group"
        ? [el("th", { colspan: headings.length, scope: "colgroup" }, ...cells)]
        : cells.map((content, index) => cell("td", content, index)))))));
}

export function odds(row) {
  if (row.p_up === null || row.p_up === undefined) return el("span", { class: "quiet" }, "–");
  const title = `down ${pc(row.p_down)}, flat ${pc(row.p_flat)}, up ${pc(row.p_up)}`;
  const bar = el("span", { class: "odds", role: "img", "aria-label": title, title });
  for (const [kind, share] of [["d", row.p_down], ["f", row.p_flat], ["u", row.p_up]]) {
    const part = el("i", { class: kind });
    part.style.width = `${100 * share}%`;
    bar.append(part);
  }
  return bar;
}

const pc = (share) => `${Math.round(100 * share)} %`;
