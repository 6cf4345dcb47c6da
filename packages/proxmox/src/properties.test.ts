import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { carriesMark } from './lost-start.ts';
import { parseSize } from './size.ts';
import type { LogLine } from './tasks.ts';
import { formatUpid, isUpid, parseUpid } from './upid.ts';
import { splitShellWords } from './vzdump-command.ts';
import { emptyVzdumpLog, readVzdumpLog } from './vzdump-log.ts';

/** Lines that vzdump prints, in any order and mixed with text of anybody. */
const vocabulary = [
  "INFO: starting new backup job: vzdump 104 105 --mode snapshot --storage vault --notes-template 'felhom/1 j pending'",
  'INFO: Starting Backup of VM 104 (lxc)',
  'INFO: Starting Backup of VM 105 (qemu)',
  'INFO: status = running',
  'INFO: backup mode: snapshot',
  'INFO: backup mode: suspend',
  'INFO: backup mode: stop',
  "INFO: create storage snapshot 'vzdump'",
  "INFO: creating vzdump archive '/x/dump/vzdump-lxc-104-2026_03_02-04_05_06.tar'",
  'INFO: suspending guest',
  'INFO: final sync finished - transferred 0 bytes in 0s',
  'INFO: resuming guest',
  "INFO: started backup task 'a'",
  "INFO: cleanup temporary 'vzdump' snapshot",
  'INFO: Finished Backup of VM 104 (00:00:01)',
  'ERROR: Backup of VM 105 failed - no',
  'WARN: careful',
  'TASK OK',
];
const logLines = fc
  .array(fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...vocabulary) }, fc.string()), { maxLength: 40 })
  .map((texts) => texts.map((text, at): LogLine => ({ n: at + 1, text })));

describe('the reader of the task log', () => {
  it('takes whatever comes, and it never matters where it is cut', () => {
    fc.assert(
      fc.property(logLines, fc.nat(40), (lines, cut) => {
        const whole = readVzdumpLog(emptyVzdumpLog, lines);
        const half = readVzdumpLog(emptyVzdumpLog, lines.slice(0, cut));
        expect(readVzdumpLog(half, lines)).toEqual(whole);
        expect(readVzdumpLog(whole, lines)).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });

  it('sees a proof only in its place: never for a container in stop mode, never without what must come before', () => {
    fc.assert(
      fc.property(logLines, (lines) => {
        for (const { kind, mode, proof } of readVzdumpLog(emptyVzdumpLog, lines).guests) {
          if (proof === null) continue;
          const before = lines.filter(({ n }) => n < proof.line).map(({ text }) => text);
          const necessary =
            kind === 'qemu'
              ? 'creating vzdump archive'
              : mode === 'suspend'
                ? 'final sync finished'
                : 'create storage snapshot';
          expect(before.some((text) => text.includes(necessary))).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});

it('a UPID reads back as it was written', () => {
  const word = fc.stringMatching(/^[a-z][a-z0-9]{0,11}$/);
  const hex32 = fc.integer({ min: 0, max: 0xffffffff });
  const parts = fc.record({
    node: word,
    pid: hex32,
    pstart: hex32,
    startSeconds: hex32,
    type: word,
    id: fc.stringMatching(/^[0-9]{0,9}$/),
    user: word.map((name) => `${name}@pam!${name}`),
  });
  fc.assert(
    fc.property(parts, (given) => {
      const text = formatUpid(given);
      expect(isUpid(text) && parseUpid(text)).toEqual(given);
    }),
  );
});

it('words quoted for a shell come back whole', () => {
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  fc.assert(
    fc.property(fc.array(fc.string()), (words) => {
      expect(splitShellWords(words.map(quote).join(' '))).toEqual(words);
    }),
  );
});

it('a mark is found in the command that carries it and in no other', () => {
  const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
  fc.assert(
    fc.property(id, id, (own, other) => {
      const command = `INFO: starting new backup job: vzdump 104 --notes-template 'felhom/1 ${own} pending' --mode snapshot`;
      expect(carriesMark(command, `felhom/1 ${own} pending`)).toBe(true);
      expect(carriesMark(command, `felhom/1 ${other} pending`)).toBe(own === other);
    }),
  );
});

it('a size is a number of bytes or nothing', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const bytes = parseSize(text);
      expect(bytes === null || (Number.isSafeInteger(bytes) && bytes >= 0) || bytes > Number.MAX_SAFE_INTEGER).toBe(
        true,
      );
    }),
  );
});
