// The page /verify/: reads the chosen file here, verifies it here, sends nothing anywhere.
"use strict";

import { Fault, verifyBundle, verifyDocument } from "./ledger.js";
import { attachedEvidence } from "./pdf.js";
import { isProofFile, verifyProofFile } from "./proof.js";
import { isAnswer, verifyReceipt } from "./receipt.js";

const SHOWN_ENTRIES = 200;
const at = (id) => document.getElementById(id);
const latin1 = new TextDecoder("latin1");

// A row of the list: what kind of sentence it is, and the sentence.
function line(kind, word, text) {
  const name = document.createElement("dt");
  const tag = document.createElement("span");
  tag.className = `tag ${kind}`;
  tag.textContent = word;
  name.append(tag);
  const sentence = document.createElement("dd");
  sentence.textContent = text;
  return [name, sentence];
}

function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Fault("The file is neither a PDF nor JSON.");
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault("The file is neither a PDF nor JSON.");
  }
}

const isPdf = (bytes) => latin1.decode(bytes.subarray(0, 1024)).includes("%PDF-");

async function judge(bytes, trusted, against) {
  if (!globalThis.crypto?.subtle) {
    throw new Fault(
      "The browser only verifies over https or on this machine itself. Use the command instead.",
    );
  }
  if (isPdf(bytes)) {
    const verdict = await verifyBundle(parsed(textOf(await attachedEvidence(bytes))), trusted);
    verdict.checks.unshift({ ok: true, sentence: "The PDF carries one evidence bundle." });
    verdict.notes.push(
      "The proof covers the attached evidence, not the printed pages: compare them with the statement.",
    );
    return verdict;
  }
  const text = textOf(bytes);
  if (isProofFile(text)) return verifyProofFile(text, trusted);
  const value = parsed(text);
  if (isAnswer(value)) return verifyReceipt(value, trusted, await comparison(against));
  const carries = value !== null && typeof value === "object" && "evidence" in value;
  return carries ? verifyDocument(value, trusted) : verifyBundle(value, trusted);
}

// What a receipt is to be compared with: JSON, the text of a tlog-proof, or null.
async function comparison(file) {
  if (!file) return null;
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isPdf(bytes)) return parsed(textOf(await attachedEvidence(bytes)));
  const text = textOf(bytes);
  return isProofFile(text) ? text : parsed(text);
}

function row(entry) {
  const cellsOf = document.createElement("tr");
  const time = new Date(Number(entry.time / 1000n)).toISOString().replace(/\.\d+Z$/, " UTC");
  const cells = [entry.seq, time.replace("T", " "), entry.event.type, entry.event.resource];
  cells.push(entry.proven ? "yes" : "no");
  for (const [column, text] of cells.entries()) {
    const cell = document.createElement(column ? "td" : "th");
    if (!column) cell.scope = "row";
    if (!column) cell.className = "num";
    cell.textContent = String(text ?? "");
    cellsOf.append(cell);
  }
  return cellsOf;
}

function show(name, verdict) {
  const card = at("verdict");
  card.hidden = false;
  card.className = `card ${verdict.valid ? "ok" : "bad"}`;
  const refused = verdict.promise === "broken" ? "PROMISE BROKEN" : "NOT valid";
  const word = verdict.valid ? "valid" : refused;
  at("verdict-title").textContent = `${name}: ${word}`;
  at("checks").replaceChildren(
    ...verdict.checks.flatMap(({ ok, sentence }) =>
      line(ok ? "ok" : "bad", ok ? "holds" : "fails", sentence),
    ),
    ...verdict.notes.flatMap((text) => line("", "note", text)),
  );
  at("statement").hidden = !verdict.statement;
  at("statement").querySelector("pre").textContent = JSON.stringify(verdict.statement, null, 2);
  at("entries").hidden = !verdict.entries.length;
  at("entries")
    .querySelector("tbody")
    .replaceChildren(...verdict.entries.slice(0, SHOWN_ENTRIES).map(row));
  at("verdict-title").focus();
}

async function verify() {
  const file = at("file").files[0];
  if (!file) return;
  let verdict = null;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    verdict = await judge(bytes, at("vkey").value.trim(), at("against").files[0]);
  } catch (error) {
    const known = error instanceof Fault;
    const sentence = known ? error.message : "The file is broken in a way that cannot be read.";
    const checks = [{ ok: false, sentence }];
    verdict = { valid: false, checks, notes: [], entries: [], statement: null };
  }
  show(file.name, verdict);
}

at("file").addEventListener("change", verify);
at("vkey").addEventListener("change", verify);
at("against").addEventListener("change", verify);
at("verify-form").addEventListener("submit", (event) => {
  event.preventDefault();
  verify();
});
