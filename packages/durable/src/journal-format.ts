import { crc32 } from 'node:zlib';
import { explain, type Schema } from './schema.ts';

/*
 * One record is one line: `LENGTH CRC JSON\n`. LENGTH is the number of bytes of the JSON in decimal, CRC its CRC-32 in
 * eight lower-case hexadecimal digits. JSON holds no raw newline, so after damage reading goes on at the next line.
 *
 * Invariants
 * - A line is a record only if length, checksum and newline all agree: a flipped byte loses a record, it never makes one.
 * - Only what follows the last intact line can be torn: an append that was never acknowledged.
 */

/** Longest record in bytes: a bound for readers, far above anything that we write. */
export const largestRecordBytes = 4 * 1024 * 1024;

/** A line of the file. `foreign` is an intact record that our schema does not know: a newer program wrote it. */
export type Stretch<R> =
  | { kind: 'record'; value: R }
  | { kind: 'foreign'; reason: string; bytes: Buffer }
  | { kind: 'broken'; bytes: Buffer };

export interface Parsed<R> {
  /** Everything up to the end of the last intact line. */
  stretches: Stretch<R>[];
  /** How many bytes of what was read are intact; what stands behind them is torn. */
  intactBytes: number;
  /** What a person should know: damaged and foreign lines, with where they stand. */
  problems: string[];
}

/** The line of a record, ready to be appended. */
export function toLine(value: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(value), 'utf8');
  return Buffer.concat([Buffer.from(`${json.length} ${checksum(json)} `, 'latin1'), json, Buffer.from('\n')]);
}

function checksum(json: Buffer): string {
  return crc32(json).toString(16).padStart(8, '0');
}

/** Reads a journal, or the rest of one from byte `from` on. Total: any bytes give an answer. */
export function parseJournal<R>(bytes: Buffer, schema: Schema<R>, from = 0): Parsed<R> {
  const stretches: Stretch<R>[] = [];
  const problems: string[] = [];
  let damagedFrom: number | null = null; // Broken lines since the last intact one, not yet known to be the tail.
  let intactBytes = 0;
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline === -1 ? bytes.length : newline + 1;
    const stretch = parseLine(bytes.subarray(start, end), schema);
    if (stretch.kind === 'broken') {
      damagedFrom ??= start;
    } else {
      if (damagedFrom !== null) {
        stretches.push({ kind: 'broken', bytes: Buffer.from(bytes.subarray(damagedFrom, start)) });
        problems.push(
          `${start - damagedFrom} bytes at ${from + damagedFrom} are damaged: what was recorded there is lost`,
        );
        damagedFrom = null;
      }
      if (stretch.kind === 'foreign')
        problems.push(`the record at byte ${from + start} is not understood: ${stretch.reason}`);
      stretches.push(stretch);
      intactBytes = end;
    }
    start = end;
  }
  const tail = bytes.subarray(intactBytes);
  // A torn append has no newline yet; whole lines that are damaged may have been acknowledged once.
  if (tail.includes(0x0a)) problems.push(`the last ${tail.length} bytes, from ${from + intactBytes}, are damaged`);
  return { stretches, intactBytes, problems };
}

function parseLine<R>(line: Buffer, schema: Schema<R>): Stretch<R> {
  const broken: Stretch<R> = { kind: 'broken', bytes: line };
  const head = /^([1-9]\d{0,7}) ([0-9a-f]{8}) /.exec(line.subarray(0, 18).toString('latin1'));
  if (head === null) return broken;
  const json = line.subarray(head[0].length, -1);
  const whole = line.at(-1) === 0x0a && json.length === Number(head[1]) && checksum(json) === head[2];
  if (!whole) return broken;
  const parsed = schema.safeParse(parseJson(json.toString('utf8')));
  if (parsed.success) return { kind: 'record', value: parsed.data };
  return { kind: 'foreign', reason: explain(parsed.error), bytes: Buffer.from(line) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // An intact line that is no JSON: another program's; the schema refuses it with its own words.
  }
}

/** The values of the records that were understood, oldest first. */
export function recordsOf<R>(stretches: readonly Stretch<R>[]): R[] {
  return stretches.flatMap((stretch) => (stretch.kind === 'record' ? [stretch.value] : []));
}
