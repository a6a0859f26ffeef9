// Reads the data of the report: base64 of a gzip stream, which has the length of the JSON, the JSON, and bytes.

async function unpack() {
  const packed = atob(document.getElementById("data").textContent);
  const compressed = new Uint8Array(packed.length);
  for (let at = 0; at < packed.length; at++) compressed[at] = packed.charCodeAt(at);
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const plain = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(plain.buffer).getUint32(0, true);
  const model = JSON.parse(new TextDecoder().decode(plain.subarray(4, 4 + length)));
  return [model, plain.subarray(4 + length)];
}

// The model, and the bytes behind it in the stream. Set once, at the start.
let model;
let blob;

// A text is the index of a template, or a list of that index and the numbers for the template's holes.
function text(reference) {
  if (typeof reference === "number") return model.texts[reference];
  let next = 1;
  const fill = (hole) => {
    const number = reference[next++];
    return hole === "\ue000" ? hex(number) : String(number);
  };
  return model.texts[reference[0]].replace(/[\ue000\ue001]/g, fill);
}

function hex(number) {
  return "0x" + number.toString(16);
}

function thousands(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

const rowCount = () => model.rows.number.length;
const sectionOf = (row) => model.sections[model.rows.section[row]];
const stageOf = (row) => model.stages[sectionOf(row).stage];

// `e123` is the anchor of event 123, also if its row has several events.
const nameOf = (row) => "#e" + model.rows.number[row];

function rowOfEvent(number) {
  const numbers = model.rows.number;
  let from = 0;
  let to = numbers.length - 1;
  while (from < to) {
    const middle = (from + to + 1) >> 1;
    if (numbers[middle] <= number) from = middle;
    else to = middle - 1;
  }
  return from;
}

const objectNamed = (id) => model.objects.find((object) => object.id === id);
