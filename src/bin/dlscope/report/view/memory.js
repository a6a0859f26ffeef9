// Rebuilds memory from the record: carries out effects one by one, and takes them back exactly.

const PAGE = 4096;

class Memory {
  constructor(effects, blob) {
    this.blob = blob;
    // By address: { prot, bytes, own }. `bytes` is null for a page of a file that is not in the report; `own` says
    // that the bytes belong to this page alone and may be written.
    this.pages = new Map();
    this.undo = [];
    this.zeros = new Uint8Array(PAGE);
    this.prepare(effects);
  }

  // Computes absolute addresses from differences, and for each effect the place of its bytes or its file.
  prepare(effects) {
    const count = effects.operation.length;
    this.address = new Float64Array(count);
    this.source = new Float64Array(count);
    this.effects = effects;
    let address = 0;
    let bytes = 0;
    let maps = 0;
    for (let at = 0; at < count; at++) {
      address += effects.address[at];
      this.address[at] = address;
      const operation = effects.operations[effects.operation[at]];
      if (operation === "bytes") {
        this.source[at] = bytes;
        bytes += effects.length[at];
      } else if (operation === "file") {
        this.source[at] = maps++;
      }
    }
    this.files = effects.files.map((file) => {
      const pages = new Map();
      for (const page of file.pages) {
        pages.set(page, this.blob.subarray(bytes, bytes + PAGE));
        bytes += PAGE;
      }
      return pages;
    });
  }

  // Carries out effects, or takes them back, until `count` are done.
  go(count) {
    while (this.undo.length > count) this.takeBack();
    while (this.undo.length < count) this.apply(this.undo.length);
  }

  apply(at) {
    const { operations, operation, length, prot, maps } = this.effects;
    const from = this.address[at];
    const before = [];
    this.undo.push(before);
    const replace = (address, page) => {
      before.push([address, this.pages.get(address)]);
      if (page) this.pages.set(address, page);
      else this.pages.delete(address);
    };
    const ends = from + length[at];
    switch (operations[operation[at]]) {
      case "zero":
        for (let a = from - (from % PAGE); a < ends; a += PAGE) {
          replace(a, { prot: prot[at], bytes: this.zeros, own: false });
        }
        break;
      case "file": {
        const [file, offset] = maps[this.source[at]];
        for (let a = from - (from % PAGE); a < ends; a += PAGE) {
          const bytes = this.files[file].get((offset + a - from) / PAGE) ?? null;
          replace(a, { prot: prot[at], bytes, own: false });
        }
        break;
      }
      case "protect":
        for (let a = from - (from % PAGE); a < ends; a += PAGE) {
          replace(a, { ...this.pages.get(a), prot: prot[at] });
        }
        break;
      case "unmap":
        for (let a = from - (from % PAGE); a < ends; a += PAGE) replace(a, null);
        break;
      case "bytes":
        this.undo[at] = this.write(from, this.blob.subarray(this.source[at], this.source[at] + length[at]));
        break;
    }
  }

  takeBack() {
    const before = this.undo.pop();
    if (before.bytes) {
      this.write(before.address, before.bytes);
      return;
    }
    // In reverse order, because an effect may replace a page twice.
    for (const [address, page] of before.reverse()) {
      if (page) this.pages.set(address, page);
      else this.pages.delete(address);
    }
  }

  // Writes bytes. Returns the bytes before.
  write(address, bytes) {
    const before = new Uint8Array(bytes.length);
    for (let n = 0; n < bytes.length; n++) {
      const at = address + n;
      const page = this.pages.get(at - (at % PAGE));
      if (!page.own) {
        page.bytes = page.bytes.slice();
        page.own = true;
      }
      before[n] = page.bytes[at % PAGE];
      page.bytes[at % PAGE] = bytes[n];
    }
    return { address, bytes: before };
  }

  // The byte at an address: `undefined` where nothing is mapped, `null` where the report does not have it.
  byte(address) {
    const page = this.pages.get(address - (address % PAGE));
    if (!page) return undefined;
    return page.bytes ? page.bytes[address % PAGE] : null;
  }

  // The byte of a file, or `null`.
  fileByte(file, offset) {
    const page = this.files[file].get(Math.floor(offset / PAGE));
    if (!page || offset >= this.effects.files[file].length) return null;
    return page[offset % PAGE];
  }

  // FNV-1a over all memory. The report has the hashes that dlscope computed at some events, to compare with.
  hash() {
    let hash = 0x811c9dc5;
    const add = (byte) => { hash = Math.imul(hash ^ byte, 0x01000193); };
    const addresses = Float64Array.from(this.pages.keys()).sort();
    for (const address of addresses) {
      let rest = address;
      for (let n = 0; n < 8; n++) {
        add(rest % 256);
        rest = Math.floor(rest / 256);
      }
      const { prot, bytes } = this.pages.get(address);
      add(prot);
      add(bytes ? 1 : 0);
      if (bytes) for (let n = 0; n < PAGE; n++) add(bytes[n]);
    }
    return hash >>> 0;
  }
}
