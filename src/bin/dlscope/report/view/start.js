// Sets up the page, once.

let memory;
let timeline;

function showFacts() {
  const { objects, relocations, events, version, error } = model;
  const fresh = objects.filter(({ how }) => how === "new").length;
  const plural = (number, word) => `${thousands(number)} ${word}${number === 1 ? "" : "s"}`;
  const facts = [plural(fresh, "object") + " mapped", plural(relocations.total, "relocation"), plural(events, "event")];
  byId("facts").textContent = `${facts.join(" · ")} · dlscope ${version}`;
  byId("failure").hidden = error === null;
  byId("failure").textContent = error ?? "";
}

// The stages of the pipeline in order, and the other stages behind them.
function drawPipeline() {
  const order = model.stages.map((stage, number) => [stage.number ?? 100 + number, stage, number]);
  const items = order.sort(([one], [other]) => one - other).map(([, stage, number]) => {
    const first = model.rows.section.findIndex((section) => model.sections[section].stage === number);
    return el(
      "li",
      { class: `stage-${stage.name} ${stage.number === null ? "outside" : ""}` },
      toRow(first, { title: stage.words, "data-stage": number },
        stage.number === null ? null : el("span", { class: "number" }, String(stage.number)), stage.name),
    );
  });
  byId("pipeline").replaceChildren(...items);
}

function showPipeline(row) {
  const { stage } = sectionOf(row);
  for (const link of byId("pipeline").querySelectorAll("a")) {
    const here = Number(link.dataset.stage) === stage;
    if (here) link.setAttribute("aria-current", "step");
    else link.removeAttribute("aria-current");
  }
}

function revealStage() {
  const box = byId("pipeline");
  const item = box.querySelector("[aria-current]").parentElement;
  if (item.offsetLeft < box.scrollLeft || item.offsetLeft + item.offsetWidth > box.scrollLeft + box.clientWidth) {
    box.scrollLeft = item.offsetLeft - box.clientWidth / 3;
  }
}

// The theme, light or dark: that of the system, or the user's choice. Browsers may not let a page from disk store it.
const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  setTheme(theme);
  try {
    localStorage.setItem("dlscope-theme", theme);
  } catch { /* then it is the system's next time */ }
}

function rememberedTheme() {
  try {
    const theme = localStorage.getItem("dlscope-theme");
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto";
  }
}

function listen() {
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", onAddress);
  window.addEventListener("popstate", onAddress);
  byId("first").addEventListener("click", () => go(0));
  byId("back").addEventListener("click", () => go(now - 1));
  byId("forward").addEventListener("click", () => go(now + 1));
  byId("last").addEventListener("click", () => go(rowCount() - 1));
  byId("theme").addEventListener("click", nextTheme);
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("search-back").addEventListener("click", () => onEnter(-1));
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    onEnter(1);
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      onEnter(-1);
    }
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("event").focus();
  });
  for (const name of TABS) {
    byId("tab-" + name).addEventListener("click", () => chooseTab(name));
    byId("tab-" + name).addEventListener("keydown", onTabKey);
  }
}

// Rebuilds the memory at every check and compares its hash with dlscope's.
function verify() {
  return model.checks.map(([row, expected]) => {
    memory.go(model.rows.effects[row]);
    return { row, expected, computed: memory.hash() };
  });
}

async function start() {
  setTheme(rememberedTheme());
  [model, blob] = await unpack();
  memory = new Memory(model.effects, blob);
  showFacts();
  drawPipeline();
  drawChapterList();
  prepareWords();
  timeline = new Timeline(byId("timeline-list"));
  listen();
  listenForWords();
  listenForChapters();
  selectTab("walk");
  const number = /^#e(\d+)$/.exec(location.hash);
  go(number ? rowOfEvent(Number(number[1])) : 0);
  if (ofChapter(location.hash)) showChapter(location.hash);
  document.documentElement.dataset.ready = Math.round(performance.now());
  // For tests, and for users of the console.
  window.dlscope = { model, memory, verify, go, now: () => now };
}

start();
