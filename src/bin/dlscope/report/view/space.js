// The address space after the event: objects, their regions, and the pages that the event is about.

function showSpace(row) {
  const { rows } = model;
  const touched = rows.length[row] > 0 ? [rows.address[row], rows.address[row] + rows.length[row]] : null;
  const regions = model.layouts[rows.layout[row]].map((number) => model.regions[number]);
  const objects = new Map();
  for (const region of regions) {
    const known = objects.get(region[3]);
    if (known) known.push(region);
    else objects.set(region[3], [region]);
  }
  const about = sectionOf(row).object;
  const parts = [...objects].map(([id, own]) => {
    const here = touched !== null && own.some((region) => overlaps(region, touched));
    return spaceObject(id, own, touched, here || id === about || objects.size === 1);
  });
  const nothing = el("p", { class: "note" }, "No object of this load is mapped.");
  byId("space-objects").replaceChildren(...(parts.length ? parts : [nothing]));
  markWords(byId("space"), new Set());
}

// Scrolls only if the column has a scroll bar of its own: on a phone the whole page would jump.
function revealTouched() {
  const column = byId("space").parentElement;
  const region = column.querySelector(".region.touched");
  if (!region || getComputedStyle(column).overflowY === "visible") return;
  const [box, inside] = [column.getBoundingClientRect(), region.getBoundingClientRect()];
  if (inside.top < box.top || inside.bottom > box.bottom) column.scrollTop += inside.top - box.top - box.height / 3;
}

const overlaps = ([start, end], [from, to]) => from < end && to > start;

function spaceObject(id, regions, touched, open) {
  const name = objectNamed(id)?.name ?? "";
  const pages = regions.reduce((sum, [start, end]) => sum + (end - start) / PAGE, 0);
  const size = ` ${thousands(pages)} ${pages === 1 ? "page" : "pages"}`;
  const details = el("details", { open }, el("summary", {}, el("b", {}, name), el("span", { class: "note" }, size)));
  // A load may have a hundred objects, so the regions of an object are made only when the user opens it.
  const inside = () => [
    spaceStrip(regions, touched),
    el("ol", { class: "regions" }, regions.map((region) => spaceRegion(region, touched))),
  ];
  const show = () => {
    details.append(...inside());
    markWords(details, new Set());
  };
  if (open) details.append(...inside());
  else details.addEventListener("toggle", show, { once: true });
  return details;
}

// The object as one strip, on a logarithmic scale so that one page beside a thousand is visible. The list below has the
// same information as text.
function spaceStrip(regions, touched) {
  const parts = regions.map((region) => {
    const [start, end, prot] = region;
    const here = touched !== null && overlaps(region, touched);
    const part = el("span", { class: `${rightsClass(prot)} ${here ? "touched" : ""}` }, model.rights[prot]);
    part.style.flexGrow = Math.log2(1 + (end - start) / PAGE);
    return part;
  });
  return el("div", { class: "strip", "aria-hidden": "true" }, parts);
}

const rightsClass = (prot) => `rights-${model.rights[prot].replaceAll("-", "").toLowerCase() || "none"}`;

function spaceRegion([start, end, prot, , what], touched) {
  const here = touched !== null && overlaps([start, end], touched);
  const marked = here ? pagesTouched(start, end, touched) : "";
  return el(
    "li",
    { class: `region ${rightsClass(prot)} ${here ? "touched" : ""}` },
    el("span", { class: "rights" }, model.rights[prot]),
    el("span", { class: "range" }, `${start.toString(16)} – ${end.toString(16)}`),
    el("span", { class: "what" }, text(what), here ? el("strong", {}, ` ◀ ${marked}`) : null),
    here ? touchedBar(start, end, touched) : null,
  );
}

function pagesTouched(start, end, [from, to]) {
  const all = (end - start) / PAGE;
  const first = Math.floor((Math.max(from, start) - start) / PAGE) + 1;
  const last = Math.ceil((Math.min(to, end) - start) / PAGE);
  if (all === 1) return "here";
  return first === last ? `page ${first} of ${all}` : `pages ${first} to ${last} of ${all}`;
}

// The place of the event's pages in the region.
function touchedBar(start, end, [from, to]) {
  const all = (end - start) / PAGE;
  const first = Math.floor((Math.max(from, start) - start) / PAGE);
  const last = Math.ceil((Math.min(to, end) - start) / PAGE);
  const mark = el("span", {});
  mark.style.left = `${(first / all) * 100}%`;
  mark.style.width = `max(3px, ${((last - first) / all) * 100}%)`;
  return el("span", { class: "bar", "aria-hidden": "true" }, mark);
}
