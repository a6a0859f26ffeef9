// Rows of bytes: the structure of the file with its fields, and memory before and after the event.

const two = (byte) => byte === null || byte === undefined ? "··" : byte.toString(16).padStart(2, "0");
const letter = (field) => String.fromCharCode(97 + field);

// The structure that the event is about, its fields, and the formula of its relocation.
function recordPanel(row) {
  const number = model.rows.record[row];
  if (number < 0) return formulaPanel(row);
  const record = model.records[number];
  const file = model.effects.files[record.file];
  const start = record.offset ?? record.address;
  const where = record.offset === null ? `in memory, at ${hex(start)}` : `${file.path}, at ${hex(start)}`;
  const byte = (at) => record.offset === null ? memory.byte(at) : memory.fileByte(record.file, at);
  const fieldAt = (at) => record.fields.findIndex(([, , , from, to]) => at - start >= from && at - start < to);
  const box = panel(
    text(record.name),
    el("p", { class: "note" }, where),
    hexRows(start, record.length, byte, fieldAt, (field) => text(record.fields[field][0])),
    el("table", { class: "fields" }, el("tbody", {}, record.fields.map(fieldRow))),
    formulaLines(row),
  );
  markTogether(box);
  return box;
}

function fieldRow([name, value, note, from, to], field) {
  const range = to > from ? (to - from === 1 ? `byte ${from}` : `bytes ${from}–${to - 1}`) : "";
  return el(
    "tr",
    { "data-field": field, tabindex: "0" },
    el("td", { class: `key field-${field % 8}` }, to > from ? letter(field) : ""),
    el("th", { scope: "row" }, text(name)),
    el("td", { class: "value" }, text(value)),
    el("td", {}, text(note)),
    el("td", { class: "range" }, range),
  );
}

// Hovering or focusing a field marks its bytes, and the other way round.
function markTogether(box) {
  const mark = (event, on) => {
    const field = event.target.closest("[data-field]")?.dataset.field;
    for (const part of box.querySelectorAll("[data-field]")) {
      part.classList.toggle("marked", on && part.dataset.field === field);
    }
  };
  for (const type of ["pointerover", "focusin"]) box.addEventListener(type, (event) => mark(event, true));
  for (const type of ["pointerleave", "focusout"]) box.addEventListener(type, (event) => mark(event, false));
}

function formulaLines(row) {
  const number = model.rows.formula[row];
  if (number < 0) return null;
  const [letters, numbers, purpose] = model.formulas[number].map(text);
  return el(
    "p",
    { class: "formula" },
    purpose ? el("span", { class: "purpose" }, purpose) : null,
    el("span", {}, code(letters), " = ", code(numbers)),
  );
}

function formulaPanel(row) {
  const lines = formulaLines(row);
  return lines && panel("The formula", lines);
}

// The memory that the event is about, before and after it.
function memoryPanel(row) {
  const { address: addresses, length: lengths, effects } = model.rows;
  const [address, length] = [addresses[row], lengths[row]];
  if (length === 0) return null;
  const shown = Math.min(length, 64);
  const after = snapshot(address, shown);
  memory.go(row > 0 ? effects[row - 1] : 0);
  const before = snapshot(address, shown);
  memory.go(effects[row]);
  const rights = memory.pages.has(address - (address % PAGE))
    ? model.rights[memory.pages.get(address - (address % PAGE)).prot]
    : "not mapped";
  // The record does not contain the memory of the host's objects.
  const all = [...before, ...after];
  if (all.every((byte) => byte === undefined)) return null;
  const same = before.every((byte, at) => byte === after[at]);
  const states = same ? [["unchanged", after]] : [["before", before], ["after", after]];
  const isShown = (at) => at >= address && at < address + shown ? 0 : -1;
  const bytes = length === 1 ? "byte" : "bytes";
  const note = `${hex(address)}, ${thousands(length)} ${bytes}; the page is ${rights} now`;
  const rest = length > shown ? `; the first ${shown} are shown` : "";
  const unknown = all.includes(null) ? "·· are bytes of the file that this report does not carry."
    : all.includes(undefined) ? "·· is not mapped." : "";
  return panel(
    "In memory",
    el("p", { class: "note" }, note + rest),
    el("div", { class: "states" }, states.map(([name, content]) =>
      el(
        "div",
        { class: "state" },
        el("h4", {}, name),
        hexRows(address, shown, contextOf(address, content), isShown, null),
      ))),
    unknown ? el("p", { class: "note" }, unknown) : null,
  );
}

function snapshot(address, length) {
  return Array.from({ length }, (_, at) => memory.byte(address + at));
}

// The bytes around the event's own, as they are after it.
function contextOf(address, content) {
  return (at) => at >= address && at < address + content.length ? content[at - address] : memory.byte(at);
}

// Rows of 16 bytes. `fieldAt` gives the field of a byte, -1 for none; `name` names a field.
function hexRows(start, length, byte, fieldAt, name) {
  const lines = [];
  const width = (start + length).toString(16).length;
  for (let at = start - (start % 16); at < start + length; at += 16) {
    const runs = [];
    for (let next = at; next < at + 16; next++) {
      const field = fieldAt(next);
      const last = runs.at(-1);
      if (last && last.field === field) last.bytes.push(byte(next));
      else runs.push({ field, bytes: [byte(next)] });
    }
    lines.push(el(
      "div",
      { class: "hex-line" },
      el("span", { class: "offset" }, at.toString(16).padStart(width, "0")),
      el("span", { class: "bytes" }, runs.map((run) => hexRun(run, name))),
    ));
  }
  return el("div", { class: "hex" }, lines);
}

function hexRun({ field, bytes }, name) {
  const content = bytes.map((byte) => el("i", {}, two(byte)));
  if (field < 0) return el("span", { class: "run" }, content);
  if (name === null) return el("mark", { class: "run" }, content);
  const title = `${name(field)}: ${bytes.map(two).join(" ")}`;
  const properties = { class: `run field-${field % 8}`, "data-field": field, "data-key": letter(field) };
  return el("span", { ...properties, title, tabindex: "0", role: "img", "aria-label": title }, content);
}
