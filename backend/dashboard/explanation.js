// What each feature added to what a model said: bars to the left and right of nothing.

import { el } from "/static/dom.js";
import { figure, known } from "/static/words.js";

const SHOWN = 6; // features of an output

export function explained(members) {
  const told = members.filter(({ outputs }) => outputs.length);
  const silent = members.filter(({ outputs }) => !outputs.length);
  return [
    ...told.map((member, place) => el("details", { open: place === 0 ? "" : null },
      el("summary", {}, `${member.model} ${member.version}`, el("span", { class: "quiet small" }, ` ${member.method === "tree_shap" ? "exact TreeSHAP" : "coefficient × value"}`)),
      ...member.outputs.map(output))),
    silent.length ? el("p", { class: "quiet small" }, silent.map(({ model, reason }) => `${model}: ${reason}`).join("; ")) : null,
    told.length ? null : el("p", { class: "empty" }, "Only baselines speak here; they read no features."),
  ].filter(Boolean);
}

function output({ output: name, base, margin, contributions }) {
  const shown = contributions.slice(0, SHOWN);
  const rest = contributions.slice(SHOWN).reduce((sum, each) => sum + each.contribution, 0);
  const widest = Math.max(...shown.map((each) => Math.abs(each.contribution)), Math.abs(rest), 1e-12);
  return el("table", { class: "shares" },
    el("caption", {}, el("b", {}, name), el("span", { class: "quiet small" }, ` raw score ${figure(margin)}, of which ${figure(base)} whatever the features`)),
    el("colgroup", {}, el("col"), el("col"), el("col"), el("col")),
    el("thead", { class: "unseen" }, el("tr", {}, ...["Feature", "Its value", "Adds", ""].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...shown.map((each) => share(each.feature, each.value, each.contribution, widest)),
      contributions.length > SHOWN ? share(`${contributions.length - SHOWN} others`, "", rest, widest) : null));
}

function share(feature, value, contribution, widest) {
  const bar = el("i", { class: contribution > 0 ? "plus" : "minus" });
  bar.style.width = `${50 * Math.abs(contribution) / widest}%`;
  return el("tr", {}, el("th", { scope: "row" }, feature.replaceAll("_", " ")),
    el("td", { class: "quiet small" }, value === "" ? "" : known(value) ? figure(value) : "not known"),
    el("td", { class: "small" }, `${contribution > 0 ? "+" : "−"}${Math.abs(contribution).toFixed(3)}`), el("td", { class: "lean", "aria-hidden": "true" }, bar));
}
