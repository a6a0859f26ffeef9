// Ways from event to event: keys, buttons, search, and the address of the page.

let now = 0;

let addressLater = 0;
let jumped = false;

// The address of the page names the event only when the user stops stepping: browsers refuse hundreds of changes in a row.
// Steps replace the entry of the history, jumps add one.
function noteAddress(jump) {
  jumped ||= jump;
  clearTimeout(addressLater);
  addressLater = setTimeout(writeAddress, 300);
}

function writeAddress() {
  clearTimeout(addressLater);
  // A chapter is shown: the address is that of the chapter.
  if (!byId("chapters").hidden) return;
  if (location.hash !== nameOf(now)) history[jumped ? "pushState" : "replaceState"](null, "", nameOf(now));
  jumped = false;
}

// Shows a row.
function go(row, { jump = false } = {}) {
  closeCard();
  now = Math.max(0, Math.min(rowCount() - 1, row));
  memory.go(model.rows.effects[now]);
  showEvent(now);
  showSpace(now);
  showPipeline(now);
  timeline.show(now);
  // Everything is written before anything is measured: a step costs one layout.
  timeline.reveal();
  revealTouched();
  revealStage();
  document.documentElement.dataset.row = now;
  noteAddress(jump);
}

// The nearest row in a direction that `wanted` accepts; -1 if there is none.
function nearest(direction, wanted) {
  for (let row = now + direction; row >= 0 && row < rowCount(); row += direction) if (wanted(row)) return row;
  return -1;
}

function goTo(row) {
  if (row >= 0) go(row, { jump: true });
}

const beginsStage = (row) =>
  row === 0 || ["stage", "request"].some((part) => sectionOf(row)[part] !== sectionOf(row - 1)[part]);
const isAlike = (row) => model.rows.type[row] === model.rows.type[now];

// Whether a row contains a text, or is about an address.
function matches(row, wanted) {
  if (text(model.rows.text[row]).toLowerCase().includes(wanted)) return true;
  if (model.types[model.rows.type[row]].some((name) => name.toLowerCase().includes(wanted))) return true;
  const address = /^0x[0-9a-f]{1,13}$/.test(wanted) ? Number(wanted) : NaN;
  const from = model.rows.address[row];
  return address >= from && address < from + model.rows.length[row];
}

function search(direction) {
  const wanted = byId("search").value.trim().toLowerCase();
  const status = byId("search-result");
  if (!wanted) return void (status.textContent = "");
  let found = nearest(direction, (row) => matches(row, wanted));
  let around = "";
  if (found < 0) {
    // The search goes on at the other end of the list.
    const rows = Array.from({ length: rowCount() }, (_, at) => at);
    if (direction < 0) rows.reverse();
    found = rows.find((row) => matches(row, wanted)) ?? -1;
    around = direction > 0 ? "from the beginning again" : "from the end again";
  }
  status.textContent = found < 0 ? "nothing found" : around;
  selectTab("walk");
  goTo(found);
}

const KEYS = {
  ArrowRight: () => go(now + 1),
  ArrowLeft: () => go(now - 1),
  Home: () => go(0),
  End: () => go(rowCount() - 1),
  "]": () => goTo(nearest(1, beginsStage)),
  "[": () => goTo(nearest(-1, beginsStage)),
  n: () => goTo(nearest(1, isAlike)),
  N: () => goTo(nearest(-1, isAlike)),
  "/": () => openSearch(SEARCH, search),
  g: () => openSearch("Go to an event, 123, or an address, 0x…", goThere),
  "?": () => byId("help").showModal(),
};

const SEARCH = "Search: a symbol, a type, 0x…";

// Enter in the search field: searches, or goes to an event or address.
let onEnter = search;

function openSearch(placeholder, act) {
  const input = byId("search");
  onEnter = act;
  input.placeholder = placeholder;
  if (act === goThere) input.value = "";
  input.focus();
  input.select();
}

// Goes to event 123, or to the next event that is about the address 0x…
function goThere(direction) {
  const number = /^#?e?(\d+)$/.exec(byId("search").value.trim());
  if (!number || number[1] === "0") return search(direction);
  selectTab("walk");
  goTo(rowOfEvent(Number(number[1])));
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("help").open) return;
  if (event.key === "Escape" && closeCard()) return;
  const { target } = event;
  if (target.matches("input")) {
    if (event.key !== "Escape") return;
    openSearch(SEARCH, search);
    byId("event").focus();
    return;
  }
  if (target.matches("[role=tab]") && /^(Arrow|Home|End)/.test(event.key)) return;
  const act = KEYS[event.key];
  if (!act || (event.key.length === 1 && !byId("keys").checked)) return;
  // In tables and the graph these keys scroll.
  if (byId("walk").hidden && event.key.length > 1) return;
  event.preventDefault();
  if (event.key.length === 1 && "[]nN".includes(event.key)) selectTab("walk");
  act();
}

// Links to events and chapters are anywhere in the page, and the browser goes back and forth between them.
function onAddress() {
  closeCard();
  if (ofChapter(location.hash)) return showChapter(location.hash);
  const number = /^#e(\d+)$/.exec(location.hash);
  if (!number) return;
  selectTab("walk");
  const row = rowOfEvent(Number(number[1]));
  if (row !== now) go(row);
  restorePlace();
}

const TABS = ["walk", "relocations", "symbols", "dependencies", "chapters"];
const tables = {};

function selectTab(wanted) {
  for (const name of TABS) {
    const tab = byId("tab-" + name);
    tab.setAttribute("aria-selected", String(name === wanted));
    tab.tabIndex = name === wanted ? 0 : -1;
    byId(name).hidden = name !== wanted;
  }
  document.documentElement.dataset.tab = wanted;
  // The tables and the graph are made when the user first opens them.
  if (wanted === "relocations") tables.relocations ??= relocationTable();
  if (wanted === "symbols") tables.symbols ??= symbolTable();
  if (wanted === "dependencies" && !byId("graph").firstChild) drawGraph();
}

// The user chose a tab. Chapters have addresses of their own, and the other tabs that of the event.
function chooseTab(wanted) {
  const isChapter = wanted === "chapters";
  if (isChapter === !byId("chapters").hidden) return isChapter ? undefined : selectTab(wanted);
  if (isChapter) {
    writeAddress();
    const { name } = byId("chapter").dataset;
    history.pushState(null, "", chapterAddress(name ?? "README"));
    showChapter(location.hash);
    byId("tab-chapters").focus();
  } else {
    selectTab(wanted);
    noteAddress(true);
    writeAddress();
  }
}

function onTabKey(event) {
  const at = TABS.findIndex((name) => event.target.id === "tab-" + name);
  const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 };
  if (at < 0 || !(event.key in steps)) return;
  const name = TABS[(steps[event.key] + TABS.length) % TABS.length];
  chooseTab(name);
  byId("tab-" + name).focus();
  event.preventDefault();
}
