// Everything about one event: what happened, why, where to read on, and its panels.

function showEvent(row) {
  const { rows } = model;
  const number = rows.number[row];
  const last = row + 1 < rowCount() ? rows.number[row + 1] - 1 : model.events;
  const which = number === last
    ? `Event ${thousands(number)} of ${thousands(model.events)}`
    : `Events ${thousands(number)} to ${thousands(last)} of ${thousands(model.events)}`;
  byId("event-heading").replaceChildren(
    which,
    el("span", { class: "chip " + stageClass(row) }, stageTitle(row)),
    sectionOf(row).name ? el("span", { class: "of" }, sectionOf(row).name) : "",
  );
  const stops = new Set();
  byId("sentence").replaceChildren(...withWords(text(rows.text[row]), stops));
  byId("words").replaceChildren(...eventWords(row));
  const [structure, bytes] = [recordPanel(row), memoryPanel(row)];
  // An event that changes memory shows the memory first.
  const changes = rows.effects[row] !== (row > 0 ? rows.effects[row - 1] : 0);
  const parts = [...(changes ? [bytes, structure] : [structure, bytes]), trailPanel(row), sourcePanel(row)];
  byId("details").replaceChildren(...parts.filter((part) => part !== null));
  markWords(byId("words"), stops);
  markWords(byId("details"), stops);
}

function eventWords(row) {
  const { rows } = model;
  const { name: kind, what, why, words } = model.kinds[rows.kind[row]];
  const [spec, glibc, musl, chapter] = model.references[rows.reference[row]];
  const reference = el(
    "dl",
    { class: "reference" },
    pair("Stage", stageOf(row).words),
    pair("Rule", spec),
    glibc ? pair("glibc", code(glibc)) : null,
    musl ? pair("musl", code(musl)) : null,
    pair("Chapter", chapterLink(chapter)),
    pair("Kind", code(kind)),
  );
  const strace = rows.strace[row];
  const remarks = rows.remarks[row] ?? [];
  return [
    el("p", { class: "why" }, what, " ", why),
    strace === undefined ? null : el("pre", { class: "strace" }, text(strace)),
    remarks.length ? el("ul", { class: "remarks" }, remarks.map((remark) => el("li", {}, text(remark)))) : null,
    reference,
    wordButtons(words),
  ].filter((part) => part !== null);
}

const pair = (term, meaning) => el("div", {}, el("dt", {}, term), el("dd", {}, meaning));

// The lookup of the symbol.
function trailPanel(row) {
  const number = model.rows.trail[row];
  if (number < 0) return null;
  const lines = model.trails[number].map(([who, said, found]) => {
    const name = text(who);
    if (!name) return el("li", { class: "whole" }, text(said));
    return el("li", { class: found ? "found" : "" }, el("b", {}, name), el("span", {}, text(said)));
  });
  return panel("How it was found", el("ol", { class: "trail" }, lines));
}

// The lines of dlscope's source that emitted the event.
function sourcePanel(row) {
  const { file, line, lines } = model.sources[model.rows.source[row]];
  if (!lines.length) return null;
  const indent = Math.min(...lines.filter(([, content]) => content.trim()).map(([, content]) => content.search(/\S/)));
  const shown = lines.map(([number, content]) =>
    el(
      "div",
      { class: number === line ? "here" : "" },
      el("span", { class: "number", "aria-hidden": "true" }, number === line ? "▶" : " ", `${number}  `.padStart(7)),
      content.slice(indent),
    ));
  const title = `dlscope's own source, ${file}:${line}`;
  return panel(title, el("pre", { class: "source", tabindex: "0", "aria-label": title }, el("div", {}, shown)));
}
