import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parseJournal, recordsOf, toLine } from './journal-format.ts';

const entry = z.object({ id: z.string(), text: z.string(), n: z.number() });
const entries = fc.array(
  fc.record({ id: fc.string({ maxLength: 8 }), text: fc.string({ unit: 'grapheme', maxLength: 40 }), n: fc.integer() }),
  { minLength: 1, maxLength: 12 },
);
const read = (bytes: Buffer): unknown[] => recordsOf(parseJournal(bytes, entry).stretches);
const write = (records: readonly unknown[]): Buffer => Buffer.concat(records.map(toLine));

describe('the text of a journal', () => {
  test('is one line a record: length, checksum, JSON', () => {
    expect(toLine({ n: 1 }).toString()).toBe('7 d44b3b7e {"n":1}\n');
  });

  test('reads back as what was written', () => {
    fc.assert(
      fc.property(entries, (records) => {
        expect(read(write(records))).toEqual(records);
      }),
    );
  });

  test('cut anywhere reads as the records before the cut, without a complaint', () => {
    fc.assert(
      fc.property(entries, fc.double({ min: 0, max: 1, noNaN: true }), (records, where) => {
        const whole = write(records);
        const cut = whole.subarray(0, Math.floor(whole.length * where));
        const { stretches, problems, intactBytes } = parseJournal(cut, entry);
        const found = recordsOf(stretches);
        expect(found).toEqual(records.slice(0, found.length));
        expect(write(found)).toEqual(cut.subarray(0, intactBytes));
        expect(write(records.slice(0, found.length + 1)).length > cut.length || found.length === records.length).toBe(
          true,
        );
        expect(problems).toEqual([]);
      }),
    );
  });

  test('with one flipped byte loses at most two records and never shows a wrong one', () => {
    fc.assert(
      fc.property(entries, fc.nat(), fc.integer({ min: 1, max: 255 }), (records, position, mask) => {
        const bytes = write(records);
        const at = position % bytes.length;
        bytes[at] = (bytes[at] ?? 0) ^ mask;
        const found = read(bytes);
        let next = 0; // What is found must be the records in their order, with gaps.
        for (const record of found) {
          while (next < records.length && JSON.stringify(records[next]) !== JSON.stringify(record)) next += 1;
          expect(next).toBeLessThan(records.length);
          next += 1;
        }
        expect(found.length).toBeGreaterThanOrEqual(records.length - 2);
      }),
      { numRuns: 2000 },
    );
  });

  test('that is any rubbish reads without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(read(Buffer.from(bytes))).toEqual([]);
      }),
    );
  });
});

describe('damage', () => {
  const records = [1, 2, 3].map((n) => ({ id: String(n), text: 'x', n }));

  test('in the middle is told with its place, and reading goes on behind it', () => {
    const bytes = write(records);
    const second = toLine(records[0]).length;
    bytes[second + 14] = 0;
    expect(read(bytes)).toEqual([records[0], records[2]]);
    expect(parseJournal(bytes, entry).problems).toEqual([expect.stringContaining(`at ${second} are damaged`)]);
  });

  test('of whole lines at the end is told: they may have been acknowledged', () => {
    const bytes = write(records);
    bytes[bytes.length - 4] = 0;
    expect(read(bytes)).toEqual(records.slice(0, 2));
    expect(parseJournal(bytes, entry).problems).toEqual([expect.stringContaining('the last')]);
  });

  test('of the last newline makes a torn tail, so that the next record does not grow into it', () => {
    const bytes = write(records);
    bytes[bytes.length - 1] = 0x78;
    expect(read(bytes)).toEqual(records.slice(0, 2));
    expect(parseJournal(bytes, entry).intactBytes).toBe(write(records.slice(0, 2)).length);
  });

  test('that makes a length ambiguous is no record', () => {
    for (const line of [
      '8 d44b3b7e {"n":1}\n',
      '07 d44b3b7e {"n":1}\n',
      '7 D44B3B7E {"n":1}\n',
      ' 7 d44b3b7e {"n":1}\n',
      '7 d44b3b7e {"n":1} \n',
    ]) {
      expect(recordsOf(parseJournal(Buffer.from(line), z.unknown()).stretches)).toEqual([]);
    }
  });
});

test('an intact record of a newer program is kept apart, told, and no damage', () => {
  const bytes = Buffer.concat([toLine({ id: '1', text: 'x', n: 1 }), toLine({ kind: 'from the future' })]);
  const parsed = parseJournal(bytes, entry);
  expect(recordsOf(parsed.stretches)).toHaveLength(1);
  expect(parsed.intactBytes).toBe(bytes.length);
  expect(parsed.problems).toEqual([expect.stringContaining('not understood')]);
});
