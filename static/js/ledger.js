// Verifies evidence bundles (vestige-evidence/1 and /2) with WebCrypto: RFC 8785, RFC 6962, C2SP notes.
// The same checks as `python -m audit.ledger verify`; the formats are in docs/ledger.md.
"use strict";

import { checkComplete, parseClaims, statementFaults } from "./complete.js";

const MAX_ENTRIES = 200000;
const MAGIC = "VLG1";
const HEADER_BYTES = 52;
const MEMBERS = ["checkpoint", "digest", "entries", "format", "log", "purpose", "statement"];
const MEMBERS_OF = {
  "vestige-evidence/1": MEMBERS,
  "vestige-evidence/2": [...MEMBERS, "complete"],
};
export const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const NOTE_COMPLETE =
  "The evidence shows that these entries are in the log, not that the log holds nothing else.";
const NOTE_COUNTED =
  "What is said to be complete is so by the log's own count of each resource's entries. That the log counted rightly, whoever holds all of it can check (verify FOLDER --full).";

export class Fault extends Error {}

export const hex = (bytes) =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const same = (one, other) =>
  one.length === other.length && one.every((byte, at) => byte === other[at]);

export async function sha256(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

export const leafHash = (leaf) => sha256(Uint8Array.of(0), leaf);
export const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

// Base64 in its one canonical spelling.
export function unbase64(text, what) {
  let bytes = null;
  try {
    bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  } catch {
    throw new Fault(`${what} is not valid base64.`);
  }
  const again = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  if (again !== text || !bytes.length) throw new Fault(`${what} is not valid base64.`);
  return bytes;
}

// RFC 8785. JavaScript's own number and string forms are the ones that the standard prescribes.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const members = Object.keys(value)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
    return `{${members.join(",")}}`;
  }
  if (typeof value === "number" && !Number.isFinite(value)) throw new Fault("no JSON number");
  return JSON.stringify(value);
}

const digestOf = async (value) => hex(await sha256(utf8.encode(canonical(value))));

// C2SP vkey: name+id+base64(0x01 || key).
export async function parseVkey(text) {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text);
  if (!match) throw new Fault("The verifier key is not written as name+id+key.");
  const [, name, id, material] = match;
  const bytes = unbase64(material, "The verifier key");
  if (bytes.length !== 33 || bytes[0] !== 1) throw new Fault("The verifier key is not Ed25519.");
  const expected = (await sha256(utf8.encode(`${name}\n`), bytes)).slice(0, 4);
  if (hex(expected) !== id) throw new Fault("The verifier key's id does not belong to it.");
  return { name, id, key: bytes.slice(1) };
}

async function signedBy(key, signature, text) {
  let imported = null;
  try {
    imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  } catch {
    throw new Fault("This browser cannot check Ed25519 signatures. Use a newer one.");
  }
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, utf8.encode(text));
}

// The text of a C2SP signed-note that this key has signed.
export async function signedText(note, vkey, what) {
  if (/[\x00-\x09\x0b-\x1f]/.test(note)) throw new Fault(`The ${what} has control characters.`);
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n")) throw new Fault(`The ${what} is not a signed note.`);
  const text = note.slice(0, end + 1);
  let verified = false;
  for (const line of note.slice(end + 2, -1).split("\n")) {
    const match = /^— ([^\s+]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (!match) throw new Fault(`The ${what} has a line that is no signature.`);
    const blob = unbase64(match[2], "A signature");
    if (match[1] !== vkey.name || hex(blob.slice(0, 4)) !== vkey.id) continue;
    if (!(await signedBy(vkey.key, blob.slice(4), text))) {
      throw new Fault(`The signature of ${vkey.name} (${vkey.id}) does not hold.`);
    }
    verified = true;
  }
  if (!verified) throw new Fault(`The key ${vkey.id} has not signed the ${what}.`);
  return text;
}

// A C2SP tlog-checkpoint, signed by this key.
export async function checkNote(note, vkey) {
  const text = await signedText(note, vkey, "checkpoint");
  const lines = text.slice(0, -1).split("\n");
  if (lines.length < 3 || !/^(0|[1-9][0-9]{0,15})$/.test(lines[1]) || lines.some((l) => !l)) {
    throw new Fault("The signed text is no checkpoint.");
  }
  const root = unbase64(lines[2], "The root hash");
  if (root.length !== 32) throw new Fault("The root hash has not 32 bytes.");
  return { origin: lines[0], size: Number(lines[1]), root };
}

// RFC 9162, section 2.1.3.2. BigInt: sizes may pass 2^31.
export async function isIncluded(index, size, hash, proof, root) {
  if (index >= size) return false;
  let [position, last, node] = [BigInt(index), BigInt(size) - 1n, hash];
  for (const sibling of proof) {
    if (last === 0n) return false;
    if (position & 1n || position === last) {
      node = await nodeHash(sibling, node);
      while (!(position & 1n) && position !== 0n) {
        position >>= 1n;
        last >>= 1n;
      }
    } else {
      node = await nodeHash(node, sibling);
    }
    position >>= 1n;
    last >>= 1n;
  }
  return last === 0n && same(node, root);
}

// RFC 9162, section 2.1.4.2, for 0 < first <= second.
export async function isExtension(first, second, firstRoot, secondRoot, proof) {
  if (first < 1 || first > second) return false;
  if (first === second) return !proof.length && same(firstRoot, secondRoot);
  let [position, last] = [BigInt(first) - 1n, BigInt(second) - 1n];
  while (position & 1n) {
    position >>= 1n;
    last >>= 1n;
  }
  // When the whole old tree is one complete subtree, the proof leaves its root out.
  const path = position === 0n ? [firstRoot, ...proof] : proof;
  if (!path.length) return false;
  let [old, grown] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    if (last === 0n) return false;
    if (position & 1n || position === last) {
      old = await nodeHash(sibling, old);
      grown = await nodeHash(sibling, grown);
      while (!(position & 1n) && position !== 0n) {
        position >>= 1n;
        last >>= 1n;
      }
    } else {
      grown = await nodeHash(grown, sibling);
    }
    position >>= 1n;
    last >>= 1n;
  }
  return last === 0n && same(old, firstRoot) && same(grown, secondRoot);
}

export function readLeaf(seq, leaf) {
  const view = new DataView(leaf.buffer, leaf.byteOffset, leaf.byteLength);
  const wrong = (what) => new Fault(`Entry ${seq} is no entry of a log: ${what}.`);
  if (leaf.length <= HEADER_BYTES || leaf.length > 65535) throw wrong("its length is wrong");
  if (String.fromCharCode(...leaf.slice(0, 4)) !== MAGIC) throw wrong(`it has not begun ${MAGIC}`);
  if (view.getBigUint64(4) !== BigInt(seq)) throw wrong("its leaf says another number");
  let event = null;
  try {
    const text = fromUtf8.decode(leaf.slice(HEADER_BYTES));
    event = JSON.parse(text);
    if (canonical(event) !== text) throw new Fault("not canonical");
  } catch {
    throw wrong("its event is not canonical JSON");
  }
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    throw wrong("its event is no object");
  }
  return { seq, time: view.getBigUint64(12), previous: leaf.slice(20, HEADER_BYTES), event };
}

export function requireMembers(value, names, where) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Fault(`${where} must be an object.`);
  }
  const found = Object.keys(value).sort();
  const unknown = found.filter((name) => !names.includes(name));
  const missing = names.filter((name) => !found.includes(name));
  if (missing.length) throw new Fault(`${where} lacks ${missing.join(", ")}.`);
  if (unknown.length) throw new Fault(`${where} has unknown members: ${unknown.slice(0, 5)}.`);
}

function parseBundle(bundle) {
  const format = bundle?.format;
  if (typeof format !== "string" || !Object.hasOwn(MEMBERS_OF, format)) {
    throw new Fault("This is no evidence bundle (vestige-evidence/1 or /2).");
  }
  requireMembers(bundle, MEMBERS_OF[format], "The bundle");
  requireMembers(bundle.log, ["origin", "vkey"], "log");
  for (const text of [bundle.purpose, bundle.log.origin, bundle.log.vkey, bundle.checkpoint]) {
    if (typeof text !== "string" || !text) throw new Fault("A text of the bundle is missing.");
  }
  const statement = bundle.statement;
  if (statement !== null && (typeof statement !== "object" || Array.isArray(statement))) {
    throw new Fault("The statement must be an object or null.");
  }
  const entries = bundle.entries;
  if (!Array.isArray(entries) || !entries.length || entries.length > MAX_ENTRIES) {
    throw new Fault("The bundle has no entries, or too many for a browser.");
  }
  return entries.map((entry, at) => {
    requireMembers(entry, ["leaf", "proof", "seq"], `entries[${at}]`);
    const ascending = at === 0 || entry.seq > entries[at - 1].seq;
    if (!Number.isSafeInteger(entry.seq) || entry.seq < 0 || !ascending) {
      throw new Fault("The entries must stand in ascending order, each once.");
    }
    if (!Array.isArray(entry.proof)) throw new Fault(`entries[${at}].proof must be a list.`);
    const proof = entry.proof.map((item) => unbase64(item, `A hash of entry ${entry.seq}`));
    if (proof.some((item) => item.length !== 32)) {
      throw new Fault(`A hash of entry ${entry.seq} has not 32 bytes.`);
    }
    return { seq: entry.seq, leaf: unbase64(entry.leaf, `The leaf of entry ${entry.seq}`), proof };
  });
}

// Collects the checks: each has a name, whether it is fine, and a sentence.
export class Verdict {
  checks = [];
  notes = [];
  entries = [];
  statement = null;
  commits = [];
  promise = "";

  get valid() {
    return this.checks.length > 0 && this.checks.every((check) => check.ok);
  }

  record(faults, sentence) {
    const more = faults.length > 10 ? ` And ${faults.length - 10} more.` : "";
    const text = faults.length ? faults.slice(0, 10).join(" ") + more : sentence;
    this.checks.push({ ok: !faults.length, sentence: text });
    return !faults.length;
  }
}

async function checkEntries(verdict, entries, checkpoint) {
  const [proofFaults, leafFaults, chainFaults] = [[], [], []];
  let before = null;
  for (const { seq, leaf, proof } of entries) {
    const hash = await leafHash(leaf);
    const proven = await isIncluded(seq, checkpoint.size, hash, proof, checkpoint.root);
    if (!proven) proofFaults.push(`Entry ${seq} is not in the signed log.`);
    try {
      const read = { ...readLeaf(seq, leaf), hash, proven };
      if (seq === 0 && read.previous.some((byte) => byte)) {
        chainFaults.push("Entry 0 names an entry before it.");
      }
      if (before?.seq === seq - 1 && !same(read.previous, before.hash)) {
        chainFaults.push(`Entry ${seq} names another hash for the entry before it.`);
      }
      if (before && read.time < before.time) {
        chainFaults.push(`Entry ${seq} is dated before entry ${before.seq}.`);
      }
      verdict.entries.push(read);
      before = read;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      leafFaults.push(error.message);
    }
  }
  const count = entries.length === 1 ? "1 entry" : `${entries.length} entries`;
  verdict.record(proofFaults, `${count} proven to be in the signed log.`);
  verdict.record(leafFaults, `${count} well formed, with canonical events.`);
  verdict.record(chainFaults, "Order, times and hashes of the entries agree.");
}

async function checkStatement(verdict, bundle, conclusions) {
  const statement = bundle.statement;
  if (statement === null) {
    verdict.notes.push("The evidence makes no statement: it only proves its entries.");
    return;
  }
  verdict.statement = statement;
  const digest = await digestOf(statement);
  const committing = verdict.entries.filter((e) => e.event.details?.statement_sha256 === digest);
  verdict.commits = committing.map((entry) => entry.seq);
  const faults = statementFaults(statement, conclusions);
  if (!committing.length) {
    faults.push("No entry commits to the statement: the log does not vouch for it.");
  }
  if ("purpose" in statement && statement.purpose !== bundle.purpose) {
    faults.push(`The statement is for another purpose than ${bundle.purpose}.`);
  }
  if (Array.isArray(statement.entries)) {
    const present = new Set(bundle.entries.map((entry) => entry.seq));
    for (const seq of statement.entries) {
      if (Number.isInteger(seq) && !present.has(seq)) {
        faults.push(`The statement rests on entry ${seq}, which is missing.`);
      }
    }
  }
  const said = committing.map((e) => `Entry ${e.seq} (${e.event.type}) commits to the statement.`);
  verdict.record(faults, said.join(" "));
}

/** Judge a bundle that was parsed from JSON. `trusted`: a vkey that came from elsewhere, or "". */
export async function verifyBundle(bundle, trusted = "") {
  const verdict = new Verdict();
  let complete = false;
  try {
    const entries = parseBundle(bundle);
    const claims = parseClaims(bundle);
    verdict.record([], `This is an evidence bundle (${bundle.format}).`);
    const intact = bundle.digest === (await digestOf({ ...bundle, digest: null }));
    verdict.record(
      intact ? [] : ["The bundle was changed after it was written: its digest does not match."],
      "The bundle's digest matches.",
    );
    const vkey = await parseVkey(bundle.log.vkey);
    const checkpoint = await checkNote(bundle.checkpoint, vkey);
    if (new Set([checkpoint.origin, bundle.log.origin, vkey.name]).size > 1) {
      throw new Fault("Checkpoint, key and bundle name different logs.");
    }
    verdict.checkpoint = checkpoint;
    verdict.record(
      [],
      `The log ${checkpoint.origin} has signed a checkpoint of ${checkpoint.size} entries with the key ${vkey.id}.`,
    );
    await checkTrust(verdict, bundle, trusted);
    await checkEntries(verdict, entries, checkpoint);
    const conclusions = await checkComplete(verdict, claims);
    await checkStatement(verdict, bundle, conclusions);
    complete = conclusions.length > 0;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([error.message]);
  }
  verdict.notes.push(complete ? NOTE_COUNTED : NOTE_COMPLETE);
  return verdict;
}

async function checkTrust(verdict, bundle, trusted) {
  if (!trusted) {
    verdict.notes.push(
      `Whose key this is, the file itself says. Compare it with the key that the organisation publishes: ${bundle.log.vkey}`,
    );
    return;
  }
  try {
    const known = await parseVkey(trusted);
    if (known.name !== bundle.log.origin) throw new Fault("The key you gave is another log's.");
    await checkNote(bundle.checkpoint, known);
    verdict.record([], "The key that you gave has signed the checkpoint.");
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([`The key that you gave has not signed the checkpoint. ${error.message}`]);
  }
}

/** Judge a certificate or report in JSON by the bundle in its member `evidence`. */
export async function verifyDocument(document, trusted = "") {
  const verdict = await verifyBundle(document.evidence, trusted);
  if (!verdict.checkpoint) return verdict;
  const statement = verdict.statement;
  const faults = [];
  if (!statement) {
    faults.push("The evidence holds no statement, so that nothing vouches for the document.");
  }
  for (const name of Object.keys(statement ?? {}).sort()) {
    if (!(name in document)) faults.push(`The document leaves out ${name} of the statement.`);
    else if (canonical(document[name]) !== canonical(statement[name])) {
      faults.push(`The document says something else than the statement in ${name}.`);
    }
  }
  for (const [name, value] of Object.entries(document)) {
    if (!statement || name in statement || name === "evidence") continue;
    if (!(await isTied(name, value, statement, document.evidence.checkpoint, verdict.commits))) {
      faults.push(`Nothing vouches for ${name} in the document.`);
    }
  }
  verdict.record(faults, "The document says what the statement says.");
  return verdict;
}

async function isTied(name, value, statement, checkpoint, commits) {
  if (name === "statement_sha256") return value === (await digestOf(statement));
  if (name === "statement_entry") return commits.includes(value);
  if (name === "checkpoint") return value === checkpoint;
  if (name !== "events" || !Array.isArray(value)) return false;
  const lines = value.map((item) => `${canonical(item)}\n`).join("");
  return hex(await sha256(utf8.encode(lines))) === statement.events_sha256;
}
