// Makes elements of the page. What comes from the report becomes text, never markup.

const byId = (id) => document.getElementById(id);

// `el("p", { class: "note" }, "text", child, …)`; a property that is a function is a listener.
function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

// The same for SVG elements.
function svg(name, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// A link to a row.
function toRow(row, properties, ...children) {
  return el("a", { href: nameOf(row), ...properties }, ...children);
}

const code = (content) => el("code", {}, content);

// A panel about the event.
function panel(heading, ...children) {
  return el("section", { class: "panel" }, el("h3", {}, heading), ...children);
}
