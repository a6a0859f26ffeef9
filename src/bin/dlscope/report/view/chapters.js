// The chapters of the documentation. `#chapter/04-map/the-load-bias` is the address of a section.

const CHAPTER = /^#chapter\/([\w-]+)(?:\/([^/]+))?$/;

// Where the user was in the event when a chapter was opened.
let left = null;

const chapterNamed = (name) => model.chapters.find((chapter) => chapter.name === name);
const chapterAddress = (name, section) => `#chapter/${name}${section ? "/" + section : ""}`;
const ofChapter = (address) => address?.startsWith("#chapter/");

// A link to `docs/chapters/04-map.md#the-load-bias`, with the titles of section and chapter.
function chapterLink(reference) {
  const [, name, anchor] = /([^/]+)\.md(?:#(.*))?$/.exec(reference);
  const chapter = chapterNamed(name);
  const section = chapter.sections.find(([known]) => known === anchor);
  const href = chapterAddress(name, section?.[0]);
  if (!section || section[1] === chapter.title) return el("a", { href }, chapter.title);
  return el("span", {}, el("a", { href }, section[1]), el("span", { class: "of" }, ` in ${chapter.title}`));
}

// Shows what the address names. An unknown name leads to the overview.
function showChapter(address) {
  const [, name, anchor] = CHAPTER.exec(address) ?? [];
  const chapter = chapterNamed(name) ?? chapterNamed("README");
  const isFirst = byId("chapters").hidden;
  if (isFirst) rememberPlace();
  selectTab("chapters");
  byId("chapter-back").setAttribute("href", nameOf(now));
  byId("chapter-back").textContent = `← Back to event ${thousands(model.rows.number[now])}`;
  if (byId("chapter").dataset.name !== chapter.name) drawChapter(chapter);
  for (const link of byId("chapter-list").querySelectorAll("a")) {
    if (link.getAttribute("href") === chapterAddress(chapter.name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  revealSection(anchor);
}

function drawChapter({ name, html }) {
  const box = byId("chapter");
  box.dataset.name = name;
  // This HTML is dlscope's own documentation; nothing that comes from a library is in it.
  box.innerHTML = html;
  for (const wide of box.querySelectorAll("pre, .wide")) wide.tabIndex = 0;
  for (const link of box.querySelectorAll("a[href^='https:']")) {
    link.target = "_blank";
    link.rel = "noreferrer";
  }
}

// The section's heading gets the focus, so that a screen reader goes on there.
function revealSection(anchor) {
  const box = byId("chapter");
  box.querySelector(".here")?.classList.remove("here");
  const heading = anchor ? document.getElementById("section-" + anchor) : null;
  heading?.classList.add("here");
  const start = heading ?? box.querySelector("h2");
  start.tabIndex = -1;
  start.focus({ preventScroll: true });
  (heading ?? byId("chapters")).scrollIntoView({ block: "start" });
}

function drawChapterList() {
  const item = ({ name, title }) => el("li", {}, el("a", { href: chapterAddress(name) }, title));
  byId("chapter-list").append(...model.chapters.map(item));
  byId("chapter-contents").open = window.matchMedia("(min-width: 1100px)").matches;
}

function rememberPlace() {
  left = { row: now, inside: byId("event").scrollTop, page: window.scrollY, focus: document.activeElement };
}

// Back at the event: the place where the user was, if it is the same event.
function restorePlace() {
  if (left?.row === now) {
    byId("event").scrollTop = left.inside;
    window.scrollTo(0, left.page);
    if (left.focus.isConnected) left.focus.focus({ preventScroll: true });
  }
  left = null;
}

// The history must name the event, not one that the user has left, before a link leads away from it.
function listenForChapters() {
  document.addEventListener("click", ({ target }) => {
    if (ofChapter(target.closest?.("a")?.getAttribute("href")) && byId("chapters").hidden) writeAddress();
  }, { capture: true });
}
