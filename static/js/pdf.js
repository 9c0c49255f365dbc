// Finds the attachment evidence.json in a PDF (ISO 32000-2, 7.11.4), without a PDF library.
// Reads objects in the order of the file, so that a later revision of an object counts.
"use strict";

import { Fault } from "./ledger.js";

const NAME = "evidence.json";
const MAX_BYTES = 256 * 2 ** 20;

const latin1 = new TextDecoder("latin1");

/** The bytes of evidence.json. Throws Fault when there is not exactly one, or it is damaged. */
export async function attachedEvidence(bytes) {
  const text = latin1.decode(bytes);
  if (/\/Encrypt\s+\d+\s+\d+\s+R/.test(text.slice(-4096))) {
    throw new Fault("The PDF is encrypted. Remove its protection, then verify again.");
  }
  const objects = await allObjects(text, bytes);
  const streams = new Set();
  for (const object of objects.values()) {
    const target = embeddedFile(object.dictionary, objects);
    if (target) streams.add(target);
  }
  if (!streams.size) throw new Fault(`The PDF carries no attachment named ${NAME}.`);
  if (streams.size > 1) throw new Fault(`The PDF carries ${streams.size} attachments ${NAME}.`);
  const stream = objects.get([...streams][0]);
  if (!stream?.stream) throw new Fault(`The attachment ${NAME} is missing from the PDF.`);
  return unpacked(stream, objects);
}

// number → {dictionary, stream?}. Bytes inside streams are passed over.
async function allObjects(text, bytes) {
  const objects = new Map();
  const heads = /(\d+)\s+\d+\s+obj\b/g;
  const packed = [];
  for (let head = heads.exec(text); head; head = heads.exec(text)) {
    const start = head.index + head[0].length;
    const end = endOfValue(text, start);
    const dictionary = text.slice(start, end);
    const object = { dictionary };
    const opening = /^\s*stream(\r\n|\n|\r)/.exec(text.slice(end, end + 32));
    heads.lastIndex = end;
    if (opening) {
      const begin = end + opening[0].length;
      const length = lengthOf(dictionary, objects);
      const close =
        length !== null && /^\s*endstream/.test(text.slice(begin + length, begin + length + 16))
          ? begin + length
          : text.indexOf("endstream", begin);
      if (close < 0) break;
      object.stream = bytes.subarray(begin, close);
      heads.lastIndex = close;
      if (/\/Type\s*\/ObjStm\b/.test(dictionary)) packed.push(object);
    }
    objects.set(Number(head[1]), object);
  }
  for (const container of packed) await unpackObjects(container, objects);
  return objects;
}

// Where the dictionary or other value that starts here ends.
function endOfValue(text, start) {
  let at = start;
  let depth = 0;
  while (at < text.length) {
    const sign = text[at];
    if (sign === "(") {
      at = endOfString(text, at);
      continue;
    }
    if (text.startsWith("<<", at)) {
      depth += 1;
      at += 2;
      continue;
    }
    if (text.startsWith(">>", at)) {
      depth -= 1;
      at += 2;
      if (depth === 0) return at;
      continue;
    }
    if (depth === 0 && text.startsWith("endobj", at)) return at;
    at += 1;
  }
  return at;
}

function endOfString(text, start) {
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "(") depth += 1;
    else if (text[at] === ")" && (depth -= 1) === 0) return at + 1;
  }
  return text.length;
}

function lengthOf(dictionary, objects) {
  const match = /\/Length\s+(\d+)(\s+\d+\s+R)?/.exec(dictionary);
  if (!match) return null;
  if (!match[2]) return Number(match[1]);
  const found = /^\s*(\d+)\s*$/.exec(objects.get(Number(match[1]))?.dictionary ?? "");
  return found ? Number(found[1]) : null;
}

async function unpackObjects(container, objects) {
  const count = Number(/\/N\s+(\d+)/.exec(container.dictionary)?.[1] ?? 0);
  const first = Number(/\/First\s+(\d+)/.exec(container.dictionary)?.[1] ?? 0);
  const text = latin1.decode(await unpacked(container, objects));
  const numbers = text.slice(0, first).trim().split(/\s+/).map(Number);
  for (let at = 0; at < count; at += 1) {
    const [number, offset] = [numbers[2 * at], numbers[2 * at + 1]];
    const end = at + 1 < count ? first + numbers[2 * at + 3] : text.length;
    if (!objects.has(number)) objects.set(number, { dictionary: text.slice(first + offset, end) });
  }
}

// The number of the stream that a file specification named evidence.json points to.
function embeddedFile(dictionary, objects) {
  if (!dictionary.includes("/EF")) return 0;
  const named = [...dictionary.matchAll(/\/U?F\s*(\((?:\\.|[^\\)])*\)|<[0-9A-Fa-f\s]*>)/g)];
  if (!named.some((match) => decoded(match[1]) === NAME)) return 0;
  const direct = /\/EF\s*<<([^>]*)>>/.exec(dictionary)?.[1];
  const indirect = /\/EF\s+(\d+)\s+\d+\s+R/.exec(dictionary)?.[1];
  const files = direct ?? objects.get(Number(indirect))?.dictionary ?? "";
  return Number(/\/U?F\s+(\d+)\s+\d+\s+R/.exec(files)?.[1] ?? 0);
}

// A PDF string, literal or hexadecimal, in Latin-1 or UTF-16BE.
function decoded(token) {
  let raw = "";
  if (token.startsWith("<")) {
    const digits = token.slice(1, -1).replace(/\s/g, "");
    for (let at = 0; at < digits.length; at += 2) {
      raw += String.fromCharCode(parseInt(digits.slice(at, at + 2).padEnd(2, "0"), 16));
    }
  } else {
    raw = token
      .slice(1, -1)
      .replace(/\\([0-7]{1,3}|.)/gs, (whole, part) =>
        /^[0-7]/.test(part) ? String.fromCharCode(parseInt(part, 8)) : part,
      );
  }
  if (!raw.startsWith("\xfe\xff")) return raw;
  let text = "";
  for (let at = 2; at + 1 < raw.length; at += 2) {
    text += String.fromCharCode(raw.charCodeAt(at) * 256 + raw.charCodeAt(at + 1));
  }
  return text;
}

async function unpacked(object, objects) {
  const filter = /\/Filter\s*(\[[^\]]*\]|\/\w+)/.exec(object.dictionary)?.[1];
  if (!filter) return object.stream;
  const names = filter.replace(/[[\]\s]/g, "");
  if (names !== "/FlateDecode" || object.dictionary.includes("/DecodeParms")) {
    throw new Fault(`${NAME} is encoded in an unusual way: ${names}.`);
  }
  const reader = new Blob([object.stream])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"))
    .getReader();
  const parts = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.length;
      if (size > MAX_BYTES) throw new Fault(`${NAME} is larger than 256 MiB.`);
      parts.push(part.value);
    }
  } catch (error) {
    throw error instanceof Fault ? error : new Fault(`${NAME} in the PDF is damaged.`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
