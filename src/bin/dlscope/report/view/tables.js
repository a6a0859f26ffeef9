// The tables of relocations and symbols, with a filter.

const TABLE_ROW = 26;

class FilteredTable {
  // `columns` are the headings, `cells(index)` the texts of a row, `row(index)` its row in the timeline.
  constructor(box, input, status, columns, count, cells, row, remark) {
    Object.assign(this, { input, status, count, cells, row, remark });
    this.columns = columns.length;
    this.shown = null;
    box.setAttribute("role", "table");
    box.style.setProperty("--columns", columns.length);
    const headings = columns.map((name) => el("span", { role: "columnheader" }, name));
    const list = el("div", { class: "list", role: "rowgroup", tabindex: "0" });
    box.append(el("div", { class: "table-head", role: "row" }, headings), list);
    this.box = box;
    this.list = new VirtualList(list, TABLE_ROW, (place) => this.element(place));
    input.addEventListener("input", () => this.filter());
    input.form.addEventListener("submit", (event) => event.preventDefault());
    this.filter();
  }

  element(place) {
    const index = this.shown ? this.shown[place] : place;
    const [first, ...others] = this.cells(index);
    return el(
      "div",
      { role: "row", class: "list-row table-row", "aria-rowindex": place + 2 },
      el("span", { role: "cell" }, toRow(this.row(index), {}, first)),
      others.map((cell) => el("span", { role: "cell", title: cell }, cell)),
    );
  }

  // The rows that contain all words of the filter, in any column.
  filter() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter((word) => word);
    this.shown = words.length === 0 ? null : [];
    for (let index = 0; this.shown && index < this.count; index++) {
      const line = this.cells(index).join("\n").toLowerCase();
      if (words.every((word) => line.includes(word))) this.shown.push(index);
    }
    const number = this.shown ? this.shown.length : this.count;
    this.status.textContent = `${thousands(number)} of ${thousands(this.count)}${this.remark}`;
    this.box.setAttribute("aria-rowcount", number + 1);
    this.list.box.scrollTop = 0;
    this.list.reset(number);
  }
}

function relocationTable() {
  const { types, kind, symbol, object, place, value, row, total } = model.relocations;
  const names = new Map(model.objects.map(({ id, name }) => [id, name]));
  const cells = (index) => [
    types[kind[index]],
    text(symbol[index]),
    names.get(object[index]) ?? "",
    text(place[index]),
    text(value[index]),
  ];
  const folded = total - row.length;
  const remark = folded === 0 ? "" : `; ${thousands(folded)} more are told together: dlscope report --all tells each`;
  const columns = ["Type", "Symbol", "Object", "Slot", "Stored"];
  return new FilteredTable(
    byId("relocation-table"), byId("relocation-filter"), byId("relocation-count"),
    columns, row.length, cells, (index) => row[index], remark,
  );
}

function symbolTable() {
  const { symbols } = model;
  const cells = (index) => {
    const { name, wanted_by, bound_to, times } = symbols[index];
    return [name, wanted_by, text(bound_to), `${thousands(times)}×`];
  };
  const columns = ["Symbol", "Wanted by", "Bound to", "Relocations"];
  return new FilteredTable(
    byId("symbol-table"), byId("symbol-filter"), byId("symbol-count"),
    columns, symbols.length, cells, (index) => symbols[index].row, "",
  );
}
