// The card that explains a word: it opens below the word while the mouse is there, and stays open after a click, a tap or Enter.

const card = {
  // The element whose word is shown, or null.
  owner: null,
  // Whether the card stays when the mouse leaves.
  pinned: false,
  // The timer by which the mouse opens or closes it.
  later: 0,
};

const OPENS_AFTER = 150;
const CLOSES_AFTER = 300;

function openCard(owner, pinned) {
  clearTimeout(card.later);
  if (card.owner !== owner) {
    closeCard();
    byId("card").replaceChildren(...cardContent(Number(owner.dataset.word)));
    byId("card").hidden = false;
    owner.setAttribute("aria-expanded", "true");
  }
  card.owner = owner;
  card.pinned = pinned;
  placeCard();
  if (!pinned) return;
  byId("card").focus({ preventScroll: true });
}

// Returns whether a card was open.
function closeCard() {
  clearTimeout(card.later);
  const { owner } = card;
  if (owner === null) return false;
  const hadFocus = byId("card").contains(document.activeElement);
  card.owner = null;
  card.pinned = false;
  byId("card").hidden = true;
  owner.setAttribute("aria-expanded", "false");
  if (hadFocus && owner.isConnected) owner.focus({ preventScroll: true });
  return true;
}

function cardContent(number) {
  const { names: [name, ...others], text: content, picture, see, read } = model.words[number];
  return [
    el("button", { type: "button", class: "card-close", "aria-label": "Close", click: closeCard }, "×"),
    el("h3", { id: "card-name" }, name),
    others.length ? el("p", { class: "note" }, others.join(", ")) : null,
    el("p", {}, content),
    picture ? el("pre", { class: "picture", tabindex: "0", "aria-label": "Picture" }, picture) : null,
    el("dl", {}, pair("See it", code(see)), pair("Read on", chapterLink(read))),
  ].filter((part) => part !== null);
}

// Puts the card below its word, or above it where there is more room. On a phone the style puts it at the bottom.
function placeCard() {
  if (card.owner === null) return;
  const box = byId("card");
  const word = card.owner.getClientRects()[0];
  if (!word) return void closeCard();
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  const below = height - word.bottom >= box.offsetHeight + 8 || height - word.bottom > word.top;
  const top = below ? word.bottom + 4 : word.top - 4 - box.offsetHeight;
  box.style.left = `${Math.max(8, Math.min(word.left, width - box.offsetWidth - 8))}px`;
  box.style.top = `${Math.max(8, Math.min(top, height - box.offsetHeight - 8))}px`;
}

// A phone's card would hide a word near the bottom.
function uncoverWord() {
  const [word, box] = [card.owner.getBoundingClientRect(), byId("card").getBoundingClientRect()];
  const covered = word.bottom > box.top && word.top < box.bottom && word.left < box.right && word.right > box.left;
  if (covered) window.scrollBy(0, word.bottom - box.top + 16);
}

const wordAt = (target) => target instanceof Element ? target.closest("[data-word]") : null;
const inCard = (target) => target instanceof Node && byId("card").contains(target);

function listenForWords() {
  document.addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType !== "mouse" || card.pinned) return;
    const owner = wordAt(target);
    if (!owner && !inCard(target)) return;
    clearTimeout(card.later);
    if (owner && owner !== card.owner) card.later = setTimeout(() => owner.isConnected && openCard(owner, false), OPENS_AFTER);
  });
  document.addEventListener("pointerout", ({ target, pointerType }) => {
    if (pointerType !== "mouse" || card.pinned || (!wordAt(target) && !inCard(target))) return;
    clearTimeout(card.later);
    card.later = setTimeout(closeCard, CLOSES_AFTER);
  });
  document.addEventListener("click", ({ target }) => {
    const owner = wordAt(target);
    if (owner) activate(owner);
    else if (!inCard(target)) closeCard();
  });
  document.addEventListener("keydown", onWordKey);
  document.addEventListener("scroll", placeCard, { capture: true, passive: true });
  window.addEventListener("resize", placeCard);
}

// A second click on the word closes the card.
function activate(owner) {
  if (card.owner === owner && card.pinned) return void closeCard();
  openCard(owner, true);
  uncoverWord();
}

function onWordKey(event) {
  const { target, key } = event;
  if (key === "Tab" && inCard(target)) return tabInCard(event);
  // A button makes a click of these keys by itself.
  if (!["Enter", " "].includes(key) || !target.matches(".word")) return;
  event.preventDefault();
  activate(target);
}

// Behind the card's last link, and before its start, the Tab key goes back to the word.
function tabInCard(event) {
  const stops = [...byId("card").querySelectorAll("button, a, [tabindex='0']")];
  const leaves = event.shiftKey ? [byId("card"), stops[0]] : [stops.at(-1)];
  if (!leaves.includes(event.target)) return;
  event.preventDefault();
  closeCard();
}
