// Reads and judges C2SP tlog-proof files. The same checks as audit/ledger/judge.py.
"use strict";

import {
  Fault,
  Verdict,
  checkNote,
  isIncluded,
  leafHash,
  parseVkey,
  readLeaf,
  unbase64,
} from "./ledger.js";

const HEADER = "c2sp.org/tlog-proof@v1";
const MAX_HASHES = 64;

export const isProofFile = (text) => text.startsWith(`${HEADER}\n`);

export function parseProofFile(text) {
  const end = text.indexOf("\n\n");
  const lines = text.slice(0, Math.max(end, 0)).split("\n");
  if (lines.shift() !== HEADER) {
    throw new Fault(`A proof starts with ${HEADER} and holds a checkpoint.`);
  }
  let extra = null;
  if (lines[0]?.startsWith("extra ")) extra = unbase64(lines.shift().slice(6), "The extra data");
  const match = /^index (0|[1-9][0-9]{0,15})$/.exec(lines.shift() ?? "");
  if (!match || !Number.isSafeInteger(Number(match[1]))) {
    throw new Fault("The proof has no line with the entry's index.");
  }
  if (lines.length > MAX_HASHES) throw new Fault(`A proof has at most ${MAX_HASHES} hashes.`);
  const path = lines.map((line) => unbase64(line, "A hash of the proof"));
  if (path.some((item) => item.length !== 32)) {
    throw new Fault("A hash of the proof has not 32 bytes.");
  }
  return { index: Number(match[1]), path, note: text.slice(end + 2), extra };
}

/** The checkpoint, and the hash of the file's leaf, proven to stand at its index. */
export async function provenByFile(file, vkey) {
  if (!file.extra) throw new Fault("The file does not hold the entry's leaf: use the command.");
  const checkpoint = await checkNote(file.note, vkey);
  if (checkpoint.origin !== vkey.name) {
    throw new Fault(`The key is not that of the log ${checkpoint.origin}.`);
  }
  const hash = await leafHash(file.extra);
  if (!(await isIncluded(file.index, checkpoint.size, hash, file.path, checkpoint.root))) {
    throw new Fault(`Entry ${file.index} is not in the signed log.`);
  }
  return { checkpoint, hashes: new Map([[file.index, hash]]) };
}

/** Judge the text of a tlog-proof by a vkey that came from elsewhere: the file names none. */
export async function verifyProofFile(text, trusted) {
  const verdict = new Verdict();
  try {
    const file = parseProofFile(text);
    verdict.record([], `This is a proof of entry ${file.index} (tlog-proof).`);
    if (!trusted) throw new Fault("A proof file names no key: give the log's.");
    const { checkpoint, hashes } = await provenByFile(file, await parseVkey(trusted));
    verdict.checkpoint = checkpoint;
    verdict.record(
      [],
      `Entry ${file.index} proven to be in the log ${checkpoint.origin}, which has signed ${checkpoint.size.toLocaleString("en-US")} entries.`,
    );
    const read = readLeaf(file.index, file.extra);
    verdict.entries.push({ ...read, hash: hashes.get(file.index), proven: true });
    verdict.record([], "The entry is well formed, with a canonical event.");
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    verdict.record([error.message]);
  }
  verdict.notes.push(
    "The proof shows that this entry is in the log, not that the log holds nothing else.",
  );
  return verdict;
}
