// The graph of dependencies, with a column for each distance from the opened library.

const BOX = { width: 190, height: 40, right: 70, below: 16 };

function drawGraph() {
  const { objects, edges } = model;
  const known = new Set(edges.flatMap(({ from, to }) => [from, to]));
  const shown = objects.filter(({ id, how }) => known.has(id) || how !== "adopted");
  const depths = depthsOf(shown, edges);
  const columns = [];
  const places = new Map();
  for (const object of shown) {
    const column = depths.get(object.id);
    columns[column] ??= 0;
    places.set(object.id, {
      x: column * (BOX.width + BOX.right) + 2,
      y: columns[column]++ * (BOX.height + BOX.below) + 2,
    });
  }
  const width = columns.length * (BOX.width + BOX.right) - BOX.right + 4;
  const height = Math.max(1, ...columns.filter((n) => n)) * (BOX.height + BOX.below) + 4;
  const lines = edges.filter(({ from, to }) => places.has(from) && places.has(to));
  byId("graph").replaceChildren(svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Dependencies" },
    arrowHead(),
    lines.map(({ from, to }) => edge(places.get(from), places.get(to), { "data-from": from, "data-to": to })),
    shown.map((object) => node(object, places.get(object.id))),
  ));
  for (const type of ["pointerover", "pointerleave", "focusin", "focusout"]) {
    byId("graph").addEventListener(type, lightEdges);
  }
  byId("edges").replaceChildren(...edges.map(({ text: words, row }) => el("li", {}, toRow(row, {}, text(words)))));
}

// While the pointer or the focus is on a box, all arrows but its own are faint.
function lightEdges(event) {
  const node = ["pointerover", "focusin"].includes(event.type) ? event.target.closest("[data-object]") : null;
  for (const edge of byId("graph").querySelectorAll(".edge")) {
    const own = node && [edge.dataset.from, edge.dataset.to].includes(node.dataset.object);
    edge.classList.toggle("lit", Boolean(own));
    edge.classList.toggle("faded", Boolean(node) && !own);
  }
}

// The distance of each object from one that no other object needs, by the shortest way.
function depthsOf(objects, edges) {
  const needed = new Set(edges.map(({ to }) => to));
  const roots = objects.filter(({ id }) => !needed.has(id));
  let layer = (roots.length ? roots : objects.slice(0, 1)).map(({ id }) => id);
  const depths = new Map();
  for (let depth = 0; layer.length; depth++) {
    for (const id of layer) if (!depths.has(id)) depths.set(id, depth);
    const next = edges.filter(({ from, to }) => layer.includes(from) && !depths.has(to)).map(({ to }) => to);
    layer = [...new Set(next)];
  }
  for (const { id } of objects) if (!depths.has(id)) depths.set(id, 0);
  return depths;
}

function node({ id, name, how, row }, { x, y }) {
  const short = name.length > 25 ? name.slice(0, 24) + "…" : name;
  return svg(
    "a",
    { href: nameOf(row), class: `node ${how}`, "data-object": id, "aria-label": `${name}, ${how}` },
    svg("title", {}, `${name}, ${how}`),
    svg("rect", { x, y, width: BOX.width, height: BOX.height, rx: 4 }),
    svg("text", { x: x + 10, y: y + 17 }, short),
    svg("text", { x: x + 10, y: y + 32, class: "how" }, how),
  );
}

function edge(from, to, ends) {
  const y1 = from.y + BOX.height / 2;
  const y2 = to.y + BOX.height / 2;
  const x1 = from.x + BOX.width;
  // An arrow goes to the right; within a column or back to the left, it goes around the right side.
  const onwards = from.x < to.x;
  const x2 = onwards ? to.x - 5 : to.x + BOX.width + 5;
  const middle = onwards ? (x1 + x2) / 2 : Math.max(x1, x2) + 40;
  const d = `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}`;
  return svg("path", { class: "edge", ...ends, d, "marker-end": "url(#arrow)" });
}

function arrowHead() {
  return svg(
    "defs",
    {},
    svg(
      "marker",
      { id: "arrow", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      svg("path", { d: "M0,0 L8,4 L0,8 z" }),
    ),
  );
}
