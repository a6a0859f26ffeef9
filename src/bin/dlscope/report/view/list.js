// A list that has only its visible rows in the document, so that 40,000 rows are as quick as 40.

class VirtualList {
  // `make(index)` makes the element of a row. All rows have the height that the style sets.
  constructor(box, rowHeight, make) {
    this.box = box;
    this.rowHeight = rowHeight;
    this.make = make;
    this.count = 0;
    this.shown = new Map();
    this.body = el("div", { class: "list-body", role: "presentation" });
    box.append(this.body);
    box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(box);
  }

  // Draws everything again, for other rows.
  reset(count) {
    this.count = count;
    this.body.style.height = count * this.rowHeight + "px";
    this.redraw();
  }

  redraw() {
    this.body.replaceChildren();
    this.shown.clear();
    this.draw();
  }

  // Draws one row again, if it is visible.
  refresh(index) {
    const old = this.shown.get(index);
    if (!old) return;
    const row = this.make(index);
    row.style.top = index * this.rowHeight + "px";
    old.replaceWith(row);
    this.shown.set(index, row);
  }

  draw() {
    const height = this.box.clientHeight;
    if (height === 0) return;
    const from = Math.max(0, Math.floor(this.box.scrollTop / this.rowHeight) - 4);
    const to = Math.min(this.count, Math.ceil((this.box.scrollTop + height) / this.rowHeight) + 4);
    for (const [index, row] of this.shown) {
      if (index < from || index >= to) {
        row.remove();
        this.shown.delete(index);
      }
    }
    for (let index = from; index < to; index++) {
      if (this.shown.has(index)) continue;
      const row = this.make(index);
      row.style.top = index * this.rowHeight + "px";
      this.shown.set(index, row);
      // Keep the elements in the order of the list, for the Tab key and for screen readers.
      let behind = null;
      for (let next = index + 1; next < to && !behind; next++) behind = this.shown.get(next) ?? null;
      this.body.insertBefore(row, behind);
    }
  }

  // Scrolls as little as needed to make a row visible, with some rows around it.
  reveal(index) {
    const top = index * this.rowHeight;
    const height = this.box.clientHeight;
    if (top < this.box.scrollTop + this.rowHeight || top > this.box.scrollTop + height - 2 * this.rowHeight) {
      this.box.scrollTop = top - height / 3;
    }
    this.draw();
  }
}
