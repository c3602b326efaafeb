// Runs the cases of one client program: a line for each, and an exit status that is not zero after a failure. A case
// that fails does not stop those behind it.

import { randomBytes } from "node:crypto";

export const endpoint = process.env.STRATA_ENDPOINT;
export const accessKey = process.env.AWS_ACCESS_KEY_ID;
export const secretKey = process.env.AWS_SECRET_ACCESS_KEY;
// What every client sends in parts.
export const big = randomBytes((20 << 20) + 7);
// More than one page of a list and one batch of a delete hold.
export const many = 1001;
// Names that clients and servers have escaped in different ways.
export const oddKeys = ["sp ace", "pl+us", "ä ö/ü%", "100%25", "q?x=1&y#z", "日本語", "!*'()~", "semi;colon,@$=:"].map(
  (name) => "odd/" + name,
);

// Runs [name, function] pairs in their order and ends the program.
export async function main(client, cases) {
  let failed = false;
  for (const [name, run] of cases) {
    try {
      await run();
      console.log(`ok      ${client}: ${name}`);
    } catch (error) {
      failed = true;
      console.log(`FAILED  ${client}: ${name}\n        ${String(error.stack).replaceAll("\n", "\n        ")}`);
    }
  }
  process.exit(failed ? 1 : 0);
}

// Compares the bytes that came back with those that were sent.
export function same(what, got, sent) {
  const [back, was] = [Buffer.from(got), Buffer.from(sent)];
  if (back.equals(was)) return;
  let at = 0;
  while (at < back.length && at < was.length && back[at] === was[at]) at += 1;
  throw new Error(`${what}: ${back.length} bytes came back, ${was.length} were sent, the first difference is at ${at}`);
}

export function equal(what, got, wanted) {
  const [one, other] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one} instead of ${other}`);
}

// Keys are listed in the order of their bytes.
export function sorted(keys) {
  return [...keys].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}

// Calls a function with every number below `count`, eight at a time.
export async function eachOf(count, run) {
  let next = 0;
  const worker = async () => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

// Sends a body to an address, or reads one, with no header but those of the transport.
export async function fetchBytes(address, body) {
  const response = await fetch(address, body ? { method: "PUT", body } : {});
  const bytes = Buffer.from(await response.arrayBuffer());
  if (response.status !== 200) throw new Error(`${response.status}: ${bytes}`);
  return bytes;
}
