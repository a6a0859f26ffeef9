// The timeline: all rows, grouped by request, stage and object.

const TIMELINE_ROW = 28;

class Timeline {
  constructor(box) {
    this.items = timelineItems();
    // The index of each row in the list.
    this.places = new Int32Array(rowCount());
    this.items.forEach((item, place) => { if (item >= 0) this.places[item] = place; });
    this.now = 0;
    box.setAttribute("role", "list");
    this.list = new VirtualList(box, TIMELINE_ROW, (place) => this.item(place));
    this.list.reset(this.items.length);
  }

  item(place) {
    const item = this.items[place];
    if (item < 0) return heading(this.items[place + 1] >= 0 ? "section" : "request", ~item);
    const current = item === this.now;
    const position = { "aria-posinset": item + 1, "aria-setsize": rowCount() };
    return el(
      "div",
      { role: "listitem", class: "list-row " + stageClass(item), ...position },
      toRow(
        item,
        { class: "timeline-row", "aria-current": current ? "step" : null, tabindex: current ? 0 : -1 },
        el("span", { class: "number" }, String(model.rows.number[item])),
        el("span", { class: "text" }, text(model.rows.text[item])),
      ),
    );
  }

  show(row) {
    const before = this.now;
    this.now = row;
    this.list.refresh(this.places[before]);
    this.list.refresh(this.places[row]);
  }

  reveal() {
    this.list.reveal(this.places[this.now]);
  }
}

const stageClass = (row) => "stage-" + stageOf(row).name;

// The rows of the list, with ~row for the heading before the first row of a group; a new request has two headings.
function timelineItems() {
  const items = [];
  let last = -1;
  for (let row = 0; row < rowCount(); row++) {
    const section = model.rows.section[row];
    if (section !== last) {
      if (last < 0 || model.sections[section].request !== model.sections[last].request) items.push(~row);
      items.push(~row);
      last = section;
    }
    items.push(row);
  }
  return items;
}

function heading(level, row) {
  const section = sectionOf(row);
  const words = level === "request" ? text(model.requests[section.request].text) : stageTitle(row);
  const ofStage = level === "section" ? stageClass(row) : "";
  const nested = level === "request" && model.requests[section.request].parent !== null ? "nested: " : "";
  return el(
    "div",
    { role: "listitem", class: `list-row timeline-${level} ${ofStage}` },
    el("span", {}, nested + words),
    level === "section" && section.name ? el("span", { class: "of" }, section.name) : null,
  );
}

// `8 relocate`.
function stageTitle(row) {
  const stage = stageOf(row);
  return stage.number === null ? stage.name : `${stage.number} ${stage.name}`;
}
