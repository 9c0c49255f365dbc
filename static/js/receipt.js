// Judges a saved answer of the log to events: its receipt, and whether the log kept its word.
// The same checks and sentences as audit/ledger/promise.py; the formats are in docs/ledger.md.
"use strict";

import {
  Fault,
  Verdict,
  checkNote,
  hex,
  isExtension,
  isIncluded,
  nodeHash,
  parseVkey,
  same,
  sha256,
  signedText,
  unbase64,
  utf8,
  verifyBundle,
} from "./ledger.js";
import { parseProofFile, provenByFile } from "./proof.js";

const MAX_EVENTS = 200000;
const MEMBERS = ["checkpoint", "log", "receipt", "receipts", "vkey"];
const PROOF_MEMBERS = ["checkpoint", "leaf_hash", "proof", "root", "seq", "size"];
const GROWTH_MEMBERS = ["checkpoint", "first", "first_root", "proof", "second", "second_root"];
const TEXT =
  /^vestige-receipt\/1\nlog ([^\s+]+)\nevents ([1-9][0-9]{0,9})\nroot ([A-Za-z0-9+/]{43}=)\ntime ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)\n$/;

const shown = (number) => number.toLocaleString("en-US");
const count = (number, one = "event", many = "events") =>
  `${shown(number)} ${number === 1 ? one : many}`;
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const members = (value) => Object.keys(value).sort().join();

export const isAnswer = (value) => isObject(value) && "receipts" in value;

function unhex(text) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/.test(text)) return new Uint8Array();
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function parseEvent(value, at) {
  if (!isObject(value) || members(value) !== "id,leaf_hash,seq") {
    throw new Fault(`receipts[${at}] must have id, seq and leaf_hash, and nothing else`);
  }
  const hash = unhex(value.leaf_hash);
  const placed = Number.isSafeInteger(value.seq) && value.seq >= 0;
  if (typeof value.id !== "string" || !/^[!-~]{1,128}$/.test(value.id)) {
    throw new Fault(`receipts[${at}]: an event's id has 1 to 128 visible ASCII characters`);
  }
  if (!placed || hash.length !== 32) {
    throw new Fault(`receipts[${at}]: the event ${value.id} has no place in a log, or no hash`);
  }
  return { id: value.id, seq: value.seq, hash };
}

function parseAnswer(value) {
  const missing = MEMBERS.filter((name) => !(name in value));
  const unknown = Object.keys(value).filter((name) => !MEMBERS.includes(name));
  if (missing.length) throw new Fault(`it lacks ${missing.join(", ")}`);
  if (unknown.length) throw new Fault(`it has members that no answer has: ${unknown.slice(0, 5)}`);
  const events = value.receipts;
  if (!Array.isArray(events) || !events.length || events.length > MAX_EVENTS) {
    throw new Fault("receipts must be a list with at least one event");
  }
  if (typeof value.log !== "string") throw new Fault("log must be a text");
  for (const name of ["receipt", "vkey", "checkpoint"]) {
    if (value[name] !== null && typeof value[name] !== "string") {
      throw new Fault(`${name} must be a text or null`);
    }
  }
  return events.map(parseEvent);
}

// RFC 6962 over seq (u64, big-endian) || leaf hash || id of each event.
async function rootOf(events) {
  let level = [];
  for (const { id, seq, hash } of events) {
    const place = new DataView(new ArrayBuffer(8));
    place.setBigUint64(0, BigInt(seq));
    level.push(await sha256(Uint8Array.of(0), new Uint8Array(place.buffer), hash, utf8.encode(id)));
  }
  while (level.length > 1) {
    const above = [];
    for (let at = 0; at < level.length; at += 2) {
      const pair = at + 1 < level.length;
      above.push(pair ? await nodeHash(level[at], level[at + 1]) : level[at]);
    }
    level = above;
  }
  return level[0];
}

// The receipt's facts, signed by the log's key under its name for receipts.
async function signedReceipt(note, vkeyText) {
  const log = await parseVkey(vkeyText);
  const name = `${log.name}/receipts`;
  const id = hex((await sha256(utf8.encode(`${name}\n`), Uint8Array.of(1), log.key)).slice(0, 4));
  const text = await signedText(note, { name, id, key: log.key }, "receipt");
  const match = TEXT.exec(text);
  if (!match) throw new Fault("The signed text is no receipt.");
  const [, origin, events, root, time] = match;
  if (origin !== log.name) throw new Fault(`It is of the log ${origin}, not of ${log.name}.`);
  return { origin, count: Number(events), root: unbase64(root, "The root"), time, key: log.id };
}

async function checkSignature(verdict, answer) {
  if (answer.receipt === null) {
    verdict.record([
      "The answer holds no receipt: the log's key was not at hand then. Send the events again under the same ids; they keep their places and get one.",
    ]);
    return null;
  }
  try {
    const receipt = await signedReceipt(answer.receipt, answer.vkey ?? "");
    if (receipt.origin !== answer.log) throw new Fault(`It is not of the log ${answer.log}.`);
    verdict.record(
      [],
      `The log ${receipt.origin} has signed a receipt for ${count(receipt.count)} at ${receipt.time} with the key ${receipt.key}.`,
    );
    return receipt;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([`The signed receipt does not hold: ${error.message}`]);
    return null;
  }
}

async function checkKey(verdict, answer, trusted) {
  if (!trusted) {
    verdict.notes.push(
      `Whose key this is, the receipt cannot say: the answer itself names it. Compare ${answer.vkey} with the key that the organisation publishes, or give that key.`,
    );
    return;
  }
  try {
    const receipt = await signedReceipt(answer.receipt, trusted);
    if (receipt.origin !== answer.log) throw new Fault("It is another log's.");
    verdict.record([], "A key that you trust has signed the receipt.");
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([`The key that you trust has not signed the receipt: ${error.message}`]);
  }
}

async function checkEvents(verdict, events, receipt) {
  const faults = [];
  const wrong = "The receipt does not belong to the events: the receipt is about";
  if (receipt.count !== events.length) {
    faults.push(`${wrong} ${shown(receipt.count)} events, not ${shown(events.length)}.`);
  } else if (!same(await rootOf(events), receipt.root)) {
    faults.push(`${wrong} other events, places or hashes.`);
  }
  verdict.record(faults, `The receipt names id, place and hash of ${count(events.length)}.`);
}

async function checkCheckpoint(verdict, answer, events) {
  if (answer.checkpoint === null) {
    verdict.notes.push(
      "The answer holds no checkpoint: the log could not be signed then. The receipt stands without.",
    );
    return;
  }
  const faults = [];
  let size = 0;
  try {
    const checkpoint = await checkNote(answer.checkpoint, await parseVkey(answer.vkey));
    verdict.checkpoint = checkpoint;
    size = checkpoint.size;
    if (checkpoint.origin !== answer.log) {
      faults.push(`The checkpoint is of the log ${checkpoint.origin}, not of the receipt's.`);
    } else if (events.some((event) => event.seq >= size)) {
      faults.push("The checkpoint does not cover the events.");
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    faults.push(`The signed checkpoint does not hold: ${error.message}`);
  }
  verdict.record(faults, `A signed checkpoint of ${count(size, "entry", "entries")} covers them.`);
}

const hashesOf = (list) => (Array.isArray(list) ? list.map(unhex) : [new Uint8Array()]);
const whole = (...hashes) => hashes.every((hash) => hash.length === 32);

function signedNote(source, hint) {
  if (typeof source.checkpoint === "string") return source.checkpoint;
  throw new Fault(`No signed checkpoint is with the proof; ask without ${hint}.`);
}

// The answer of the log's REST door for one entry: the hash of its leaf, at its place.
async function provenByDoor(source, vkey) {
  const checkpoint = await checkNote(signedNote(source, "?size="), vkey);
  const [seq, hash, path] = [source.seq, unhex(source.leaf_hash), hashesOf(source.proof)];
  const placed = Number.isSafeInteger(seq) && seq >= 0 && whole(hash, ...path);
  if (!placed || !(await isIncluded(seq, checkpoint.size, hash, path, checkpoint.root))) {
    throw new Fault("The proof leads to another root.");
  }
  return { checkpoint, hashes: new Map([[seq, hash]]), roots: new Map() };
}

// The answer of the log for its growth: the root that the signed tree had when it was smaller.
async function provenGrowth(source, vkey) {
  const checkpoint = await checkNote(signedNote(source, "&second="), vkey);
  const [first, root, path] = [source.first, unhex(source.first_root), hashesOf(source.proof)];
  const placed = Number.isSafeInteger(first) && whole(root, ...path);
  if (!placed || !(await isExtension(first, checkpoint.size, root, checkpoint.root, path))) {
    throw new Fault("The proof does not lead to the second root.");
  }
  return { checkpoint, hashes: new Map(), roots: new Map([[first, root]]) };
}

async function provenByBundle(source, vkeyText) {
  const bundle = isObject(source) && "evidence" in source ? source.evidence : source;
  const judged = await verifyBundle(bundle, vkeyText);
  if (!judged.valid) throw new Fault(judged.checks.find((check) => !check.ok).sentence);
  const hashes = new Map(judged.entries.map((entry) => [entry.seq, entry.hash]));
  return { checkpoint: judged.checkpoint, hashes, roots: new Map() };
}

// What is proven of a signed tree: leaf hashes by place, roots that it had before by size.
async function holding(source, origin, vkeyText) {
  const vkey = await parseVkey(vkeyText);
  const has = (names) => isObject(source) && members(source) === names.join();
  let found = null;
  if (typeof source === "string") {
    found = { ...(await provenByFile(parseProofFile(source), vkey)), roots: new Map() };
  } else if (has(PROOF_MEMBERS)) found = await provenByDoor(source, vkey);
  else if (has(GROWTH_MEMBERS)) found = await provenGrowth(source, vkey);
  else found = await provenByBundle(source, vkeyText);
  if (found.checkpoint.origin !== origin) {
    throw new Fault(`It is of the log ${found.checkpoint.origin}, not of ${origin}.`);
  }
  return found;
}

// The size for which the log's signature stands under two trees, or null.
function forkedAt(own, found) {
  if (!own) return null;
  const trees = new Map([...found.roots, [found.checkpoint.size, found.checkpoint.root]]);
  const root = trees.get(own.size);
  return root && !same(root, own.root) ? own.size : null;
}

function judge(verdict, events, found) {
  const faults = [];
  const own = verdict.checkpoint;
  const size = found.checkpoint.size;
  const entries = (number) => count(number, "entry", "entries");
  const fork = forkedAt(own, found);
  if (fork !== null) {
    faults.push(
      `Two different trees of ${entries(fork)} bear the log's signature: it shows different people different things, and that is proven.`,
    );
  }
  let kept = 0;
  for (const event of events) {
    const hash = found.hashes.get(event.seq);
    if (hash && same(hash, event.hash)) kept += 1;
    else if (hash) {
      faults.push(
        `The log accepted the event ${event.id} as entry ${event.seq}, and the signed log of ${entries(size)} holds another entry there: the event was left out or rewritten, and that is proven.`,
      );
    }
  }
  const missing = events.length - kept;
  if (faults.length) verdict.promise = "broken";
  else verdict.promise = missing ? "not shown" : "kept";
  const grown = own && found.roots.has(own.size);
  if (grown && !faults.length) {
    verdict.record(
      [],
      `The signed log of ${entries(size)} still begins with the ${entries(own.size)} that were signed with the receipt.`,
    );
  } else if (!kept && !faults.length) {
    faults.push(
      events.every((event) => event.seq >= size)
        ? `The signed log of ${entries(size)} ends before the events' places. If it is older than the receipt, get a newer one; if it is newer, the log was cut.`
        : "What was given shows nothing about the events' places.",
    );
  }
  const stand =
    events.length === 1 ? "It stands" : `${shown(kept)} of ${count(events.length)} stand`;
  if (kept || faults.length) {
    verdict.record(faults, `${stand} in the signed log where the receipt says.`);
  }
  if (missing && !faults.length) {
    const other = kept ? "other " : "";
    verdict.notes.push(`Nothing was given that shows the ${other}${count(missing)} in place.`);
  }
}

/**
 * Judge a saved answer that was parsed from JSON. `trusted`: a vkey that came from elsewhere, or "".
 * `against`: null, or what to compare it with: parsed JSON, or the text of a tlog-proof.
 */
export async function verifyReceipt(answer, trusted = "", against = null) {
  const verdict = new Verdict();
  let events = [];
  try {
    events = parseAnswer(answer);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([`This is no saved answer of the log: ${error.message}.`]);
    return verdict;
  }
  verdict.record([], `This is the answer of a log to ${count(events.length)}.`);
  const receipt = await checkSignature(verdict, answer);
  if (!receipt) return verdict;
  await checkKey(verdict, answer, trusted);
  await checkEvents(verdict, events, receipt);
  await checkCheckpoint(verdict, answer, events);
  if (!verdict.valid) return verdict;
  verdict.notes.push(
    "What the events say is not in a receipt: the leaf hash of each stands for it, and the entry's leaf shows it.",
  );
  if (against === null) {
    verdict.notes.push(
      "A receipt shows that the log accepted the events, not that it still holds them: compare it with evidence or a proof.",
    );
    return verdict;
  }
  try {
    const found = await holding(against, answer.log, trusted || answer.vkey);
    const size = shown(found.checkpoint.size);
    verdict.record([], `Compared with the signed log of ${size} entries.`);
    judge(verdict, events, found);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([`What the receipt was to be compared with does not hold: ${error.message}`]);
  }
  return verdict;
}
