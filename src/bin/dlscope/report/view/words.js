// The words of dynamic linking: each that occurs in the text about an event is underlined, and leads to its card.

// No prose: bytes, the source of dlscope, and what is a link or a button already.
const NO_PROSE = ".hex, .source, .offset, a, button, summary, [data-word]";

// The word of each form, and the pattern that finds all forms. A name that ends with `_` is the beginning of many names.
const knownWords = new Map();
let wordPattern;

function prepareWords() {
  const add = (form, word) => { if (!knownWords.has(form)) knownWords.set(form, word); };
  model.words.forEach(({ names }, word) => names.forEach((name) => add(name, word)));
  model.words.forEach(({ names }, word) => names.flatMap(formsOf).forEach((form) => add(form, word)));
  const longestFirst = [...knownWords.keys()].sort((one, other) => other.length - one.length);
  const patterns = longestFirst.map((form) => escaped(form) + (form.endsWith("_") ? "\\w+" : ""));
  // Not inside of a longer name: `symbol` is no word in `symbol_table.rs`, nor `library` in `my-library`.
  wordPattern = new RegExp(`(?<![\\w.$-])(?:${patterns.join("|")})(?![\\w-])`, "g");
}

const escaped = (form) => form.replace(/[$.*+?^(){}|[\]\\]/g, "\\$&");

// A name and what sentences make of it: `Symbols`, `dependencies`. Names with capitals have only their plural.
function formsOf(name) {
  if (!/^[a-z].*[a-z]$/i.test(name) || name.includes("_")) return [name];
  const plural = name.endsWith("y") ? name.slice(0, -1) + "ies" : name + (/(s|sh|ch|x)$/.test(name) ? "es" : "s");
  const all = [name, plural];
  return /[A-Z]/.test(name) ? all : [...all, ...all.map((form) => form[0].toUpperCase() + form.slice(1))];
}

const wordOf = (form) => knownWords.get(form) ?? knownWords.get(form.slice(0, form.indexOf("_") + 1));

// The text with its words as elements. Of each word only the first is a stop of the Tab key; `stops` has those that had one.
function withWords(content, stops) {
  const parts = [];
  let end = 0;
  for (const { 0: form, index } of content.matchAll(wordPattern)) {
    parts.push(content.slice(end, index), wordElement(form, wordOf(form), stops));
    end = index + form.length;
  }
  return [...parts, content.slice(end)];
}

function wordElement(form, word, stops) {
  const stop = !stops.has(word);
  stops.add(word);
  const properties = { "data-word": word, role: "button", tabindex: stop ? "0" : "-1", "aria-haspopup": "dialog" };
  return el("span", { class: "word", "aria-expanded": "false", ...properties }, form);
}

// Marks the words in what is in the document already.
function markWords(box, stops) {
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(NO_PROSE)) texts.push(walker.currentNode);
  for (const node of texts) {
    const parts = withWords(node.data, stops);
    if (parts.length > 1) node.replaceWith(...parts);
  }
}

// The words that an event has to do with, as buttons.
function wordButtons(words) {
  if (!words.length) return null;
  const button = (word) => {
    const properties = { type: "button", "data-word": word, "aria-haspopup": "dialog", "aria-expanded": "false" };
    return el("button", { class: "word-button", ...properties }, model.words[word].names[0]);
  };
  return el("div", { class: "word-list", role: "group", "aria-label": "Words" }, words.map(button));
}
