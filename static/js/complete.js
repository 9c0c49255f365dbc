// Whether a bundle holds all entries of a resource in a range of the log (vestige-evidence/2).
// The same conclusions as audit/ledger/completeness.py; the rules are in docs/ledger.md.
"use strict";

import {
  Fault,
  canonical,
  hex,
  isIncluded,
  nodeHash,
  requireMembers,
  sha256,
  unbase64,
  utf8,
} from "./ledger.js";

const BUCKETS = 4096;
const PATH_HASHES = 12;
const HEX_HASH = /^[0-9a-f]{64}$/;
const LAST_MOMENT = 253402300799999999n; // year 9999, in microseconds

// A gap, or something that shows none: the claim is refused.
class Incomplete extends Error {}

function whole(value, where) {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new Fault(`${where} must be a whole number, 0 or more.`);
}

const wholeOrNull = (value, where) => (value === null ? null : whole(value, where));

function parseHeads(heads, where) {
  requireMembers(heads, ["bucket", "entry", "path"], where);
  whole(heads.entry, `${where}.entry`);
  if (!Array.isArray(heads.bucket)) throw new Fault(`${where}.bucket must be a list of heads.`);
  if (!Array.isArray(heads.path) || heads.path.length !== PATH_HASHES) {
    throw new Fault(`${where}.path must have ${PATH_HASHES} hashes.`);
  }
  const bucket = heads.bucket.map((head, at) => {
    if (!Array.isArray(head) || head.length !== 3 || !HEX_HASH.test(head[0])) {
      throw new Fault(`${where}.bucket[${at}] must be a list of hash, nth and seq.`);
    }
    const numbers = head.slice(1).map((value) => whole(value, `${where}.bucket[${at}]`));
    return { key: head[0], nth: numbers[0], seq: numbers[1] };
  });
  const path = heads.path.map((item) => unbase64(item, `A hash of ${where}.path`));
  return { entry: heads.entry, bucket, path };
}

/** The claims of a bundle, of the right form; none in a bundle of the first format. */
export function parseClaims(bundle) {
  if (!("complete" in bundle)) return [];
  if (!Array.isArray(bundle.complete) || !bundle.complete.length) {
    throw new Fault("complete must be a list with at least one claim.");
  }
  return bundle.complete.map((claim, at) => {
    const where = `complete[${at}]`;
    requireMembers(claim, ["before", "from", "heads", "resource", "since", "until"], where);
    const { resource } = claim;
    if (typeof resource !== "string" || !resource) throw new Fault(`${where} names no resource.`);
    const [since, until] = [whole(claim.since, where), whole(claim.until, where)];
    const [from, before] = [wholeOrNull(claim.from, where), wholeOrNull(claim.before, where)];
    if (until < since || (until === since && (from === null || before === null))) {
      throw new Fault(`${where}.until must be more than ${where}.since.`);
    }
    const heads = claim.heads === null ? null : parseHeads(claim.heads, `${where}.heads`);
    return { resource, since, until, from, before, heads };
  });
}

const nameOf = (claim) => Array.from(claim.resource).slice(0, 200).join("");
const missing = (claim, seq) => new Incomplete(`Entry ${seq} of ${nameOf(claim)} is missing.`);

function moment(time) {
  const us = BigInt(time);
  if (us > LAST_MOMENT) return `${us} microseconds after 1970`;
  const seconds = new Date(Number(us / 1000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(us % 1000000n).padStart(6, "0")}Z`;
}

// Which of its resource's entries an entry is; null when it is of version 1 and does not say.
function placeOf({ seq, event }) {
  const within = event.within ?? null;
  if (within === null && ("v" in event ? event.v : 1) === 1) return null;
  const nth = within?.nth;
  const previous = within?.previous ?? null;
  const first = previous === null && nth === 1;
  const isBefore = Number.isSafeInteger(previous) && previous >= 0 && previous < seq;
  if (first || (isBefore && Number.isSafeInteger(nth) && nth > 1)) return { nth, previous };
  throw new Incomplete(`Entry ${seq} does not say which of its resource's entries it is.`);
}

// The log's time never runs backwards: two entries show where a period begins or ends.
function requireBorders(claim, entries) {
  const borders = [
    [claim.from, claim.since],
    [claim.before, claim.until],
  ];
  for (const [time, border] of borders) {
    for (const seq of time === null ? [] : [border - 1, border]) {
      if (seq < 0) continue;
      const entry = entries.get(seq);
      if (!entry) {
        throw new Incomplete(`Entry ${seq}, at the border of the period, is missing.`);
      }
      if (entry.time < BigInt(time) !== seq < border) {
        throw new Incomplete(
          `Entry ${seq} was recorded ${moment(entry.time)}, on the wrong side of the period's border ${moment(time)}.`,
        );
      }
    }
  }
}

function number(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

const unhex = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));

// RFC 6962, section 2.1.
async function rootOf(hashes) {
  if (!hashes.length) return sha256();
  if (hashes.length === 1) return hashes[0];
  let half = 1;
  while (half * 2 < hashes.length) half *= 2;
  return nodeHash(await rootOf(hashes.slice(0, half)), await rootOf(hashes.slice(half)));
}

// The head of the resource in its bucket, null when it has none, undefined when that is not shown.
async function headIn(resource, { bucket, path }, root) {
  const key = hex(await sha256(utf8.encode(resource)));
  const index = parseInt(key.slice(0, 3), 16);
  const right = bucket.every(
    (head, at) =>
      parseInt(head.key.slice(0, 3), 16) === index &&
      (at === 0 || head.key > bucket[at - 1].key) &&
      head.nth >= 1 &&
      head.nth <= head.seq + 1,
  );
  if (!right || path.some((hash) => hash.length !== 32)) return undefined;
  const leaves = bucket.map((head) =>
    sha256(Uint8Array.of(0), unhex(head.key), number(head.nth), number(head.seq)),
  );
  const bucketRoot = await rootOf(await Promise.all(leaves));
  if (!(await isIncluded(index, BUCKETS, bucketRoot, path, root))) return undefined;
  return bucket.find((head) => head.key === key) ?? null;
}

async function endFromHeads(claim, entries) {
  const at = claim.heads.entry;
  const event = entries.get(at)?.event;
  const { size, root } = event?.details ?? {};
  const isText = typeof root === "string";
  if (event?.type !== "log.heads" || !Number.isSafeInteger(size) || !isText) {
    throw new Incomplete(`Entry ${at} does not commit to the heads of the log.`);
  }
  if (size < claim.until || size > at) {
    throw new Incomplete(
      `Entry ${at} commits to the heads of the first ${size} entries, which say nothing of the entries up to ${claim.until - 1}.`,
    );
  }
  const isHash = HEX_HASH.test(root);
  const head = isHash ? await headIn(claim.resource, claim.heads, unhex(root)) : undefined;
  if (head === undefined) {
    throw new Incomplete(`The heads are not those that entry ${at} commits to.`);
  }
  return { count: head?.nth ?? 0, newest: head?.seq ?? null };
}

// How many entries the resource has before `until`, and which is the newest of them.
async function endOf(claim, entries, mine) {
  if (claim.heads) {
    const end = await endFromHeads(claim, entries);
    if (end.newest === null || end.newest < claim.until) return end;
  }
  const following = [...mine.keys()].find((seq) => seq >= claim.until);
  const place = mine.get(following) ?? null;
  if (place === null) {
    throw new Incomplete(
      `Nothing shows which is the last entry of ${nameOf(claim)} before entry ${claim.until}.`,
    );
  }
  return { count: place.nth - 1, newest: place.previous };
}

// From which entry on all are here, when the last of `listed` does not count itself.
function counted(claim, listed, mine, count) {
  const last = listed[listed.length - 1];
  if (listed.length > count || listed.some((seq) => mine.get(seq) !== null)) {
    throw new Incomplete(
      `The entries of ${nameOf(claim)} up to entry ${last} are not the ${count} that the log counts.`,
    );
  }
  if (listed.length === count) return claim.since;
  if (claim.since === 0) {
    throw new Incomplete(
      `Of the ${count} entries of ${nameOf(claim)} up to entry ${last}, ${count - listed.length} are missing.`,
    );
  }
  return last;
}

// How many entries of the claim are here, and from which entry on these are all. `entries` by seq.
async function conclude(claim, entries) {
  requireBorders(claim, entries);
  const mine = new Map();
  for (const [seq, entry] of entries) {
    if (entry.event.resource === claim.resource) mine.set(seq, placeOf(entry));
  }
  const listed = [...mine.keys()].filter((seq) => seq >= claim.since && seq < claim.until);
  if (claim.since === claim.until) return { claim, entries: 0, since: claim.since };
  let { count, newest } = await endOf(claim, entries, mine);
  for (let at = listed.length - 1; at >= 0; at -= 1) {
    const [seq, place] = [listed[at], mine.get(listed[at])];
    if (seq !== newest) {
      if (newest !== null && newest > seq) throw missing(claim, newest);
      throw new Incomplete(`Entry ${seq} is one more of ${nameOf(claim)} than the log counts.`);
    }
    if (place === null) {
      const since = counted(claim, listed.slice(0, at + 1), mine, count);
      return { claim, entries: listed.length, since };
    }
    if (place.nth !== count) {
      throw new Incomplete(
        `Entry ${seq} says that it is number ${place.nth} of ${nameOf(claim)}, not ${count}.`,
      );
    }
    [count, newest] = [place.nth - 1, place.previous];
  }
  if (newest !== null && newest >= claim.since) throw missing(claim, newest);
  return { claim, entries: listed.length, since: claim.since };
}

function sentence({ claim, entries, since }) {
  const times = [];
  if (claim.from !== null) times.push(`from ${moment(claim.from)} on`);
  if (claim.before !== null) times.push(`before ${moment(claim.before)}`);
  const when = times.length ? ` (recorded ${times.join(" and ")})` : "";
  const name = nameOf(claim);
  if (claim.since === claim.until) {
    return `${name} has no entry${when}: the log has none at all there.`;
  }
  const where = `from entry ${since} to entry ${claim.until - 1}${when}`;
  if (!entries) return `${name} has no entry ${where}.`;
  const said =
    entries === 1
      ? `The only entry of ${name} ${where} is here.`
      : `All ${entries} entries of ${name} ${where} are here.`;
  if (since === claim.since) return said;
  return `${said} Before entry ${since} entries do not say which of their resource's entries they are, so that there may be more.`;
}

/** What the entries that were read show of the claims; adds a check to the verdict. */
export async function checkComplete(verdict, claims) {
  const entries = new Map(verdict.entries.map((entry) => [entry.seq, entry]));
  const [found, faults] = [[], []];
  for (const claim of claims) {
    try {
      found.push(await conclude(claim, entries));
    } catch (error) {
      if (!(error instanceof Incomplete)) throw error;
      faults.push(error.message);
    }
  }
  if (claims.length) verdict.record(faults, found.map(sentence).join(" "));
  return found;
}

/** What the statement says to be complete, in its member `complete`, and the bundle does not show. */
export function statementFaults(statement, conclusions) {
  const said = statement.complete ?? null;
  if (said === null || typeof said !== "object" || Array.isArray(said)) return [];
  const shown = conclusions
    .filter(({ claim, since }) => since === claim.since)
    .map(({ claim: { heads: _, ...members }, entries }) => canonical({ ...members, entries }));
  if (shown.includes(canonical(said))) return [];
  return ["The statement says that it leaves nothing out; the evidence does not show that."];
}
