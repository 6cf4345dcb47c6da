import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DraftParts, draftPayload, signCommand } from './draft.ts';
import { explainPayload } from './explain.ts';
import { contentDigest, readPayload } from './payload.ts';

const nowMs = Date.UTC(2026, 10, 24, 22, 0, 0);
const agent = 'ab'.repeat(16);
const base = { vmid: 101, agent, validForMs: 3_600_000 };
const guest = { kind: 'lxc', digest: 'a'.repeat(40), rootVolume: 'local:101/vm-101-disk-0.raw' } as const;
const backup = { volid: 'bk:backup/vzdump-lxc-101-x.tar.zst', sizeBytes: 5 };

const whole: DraftParts[] = [
  { ...base, operation: 'backup-delete', ...backup },
  { ...base, operation: 'backup-delete', ...backup, sizeBytes: null },
  { ...base, operation: 'guest-destroy', ...guest, purge: true },
  { ...base, operation: 'snapshot-rollback', kind: 'qemu', snapshot: 'before', snapshotTime: 7, start: true },
  { ...base, operation: 'guest-restore', ...guest, ...backup, storage: 'tank', safetyBackup: null },
  { ...base, operation: 'guest-restore', ...guest, ...backup, waiveArchiveCheck: true },
];

describe('a draft', () => {
  it.each(whole)('of $operation is one that an agent reads, valid from a minute ago', (parts) => {
    const payload = draftPayload(parts, nowMs);
    expect(readPayload(Buffer.from(JSON.stringify(payload)))).toEqual({ kind: 'payload', payload });
    expect(payload).toMatchObject({ not_before: '2026-11-24T21:59:00Z', expires: '2026-11-24T23:00:00Z' });
    expect(explainPayload(payload).join('\n')).toContain(agent);
  });

  it.each(whole)('of $operation has a nonce of its own each time, and the same content', (parts) => {
    const [one, other] = [draftPayload(parts, nowMs), draftPayload(parts, nowMs + 5_000)];
    expect(one.nonce).not.toBe(other.nonce);
    expect(contentDigest(one)).toBe(contentDigest(other));
  });

  it.each([
    ['--agent', { ...base, agent: undefined, operation: 'backup-delete', ...backup }],
    ['--volid', { ...base, operation: 'backup-delete', sizeBytes: 5 }],
    ['--size', { ...base, operation: 'backup-delete', volid: backup.volid }],
    ['--kind', { ...base, operation: 'guest-destroy', digest: guest.digest }],
    ['--digest', { ...base, operation: 'guest-destroy', kind: 'lxc' }],
    ['--snapshot-time', { ...base, operation: 'snapshot-rollback', kind: 'lxc', snapshot: 'before' }],
    ['--idempotency-key', { ...base, operation: 'backup-delete', ...backup, idempotencyKey: 'not a key' }],
  ] as [string, DraftParts][])('without a good %s is not signed, and says so', (option, parts) => {
    expect(() => draftPayload(parts, nowMs)).toThrow(option);
  });

  it('of which parts are missing names each by its option, in words', () => {
    const parts: DraftParts = { ...base, operation: 'guest-restore', agent: undefined, kind: 'lxc' };
    expect(() => draftPayload(parts, nowMs)).toThrow(/--agent is missing.*--volid is missing.*--size is missing/);
    expect(() => draftPayload(parts, nowMs)).not.toThrow(/undefined|Invalid input/);
  });

  it('for more than seven days is not signed', () => {
    const parts: DraftParts = { ...base, operation: 'backup-delete', ...backup, validForMs: 7 * 86_400_000 };
    expect(() => draftPayload(parts, nowMs)).toThrow('seven days');
  });

  it('backs the present guest up where its backup lies, unless told otherwise', () => {
    expect(draftPayload({ ...base, operation: 'guest-restore', ...guest, ...backup }, nowMs)).toMatchObject({
      safety_backup: { storage: 'bk' },
      archive_check: 'whole',
      start: false,
    });
  });

  it('names every part in the words that sign it elsewhere, quoted for a shell', () => {
    const parts: DraftParts = { ...base, operation: 'backup-delete', volid: "bk:backup/it's here", sizeBytes: null };
    expect(signCommand(parts)).toBe(
      `felhom-agent operation sign backup-delete 101 --key FILE --agent ${agent} --volid 'bk:backup/it'\\''s here' --size unknown`,
    );
    for (const each of whole) expect(signCommand(each)).not.toMatch(/undefined|null|false|true/);
  });
});

describe('what an envelope carried', () => {
  it('is refused with a reason whatever it is, and never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)), (bytes) => {
        expect(readPayload(bytes).kind).toBe('refused');
      }),
    );
  });

  it('is refused with any one field dropped or added', () => {
    for (const parts of whole) {
      const payload = draftPayload(parts, nowMs);
      for (const key of Object.keys(payload)) {
        const { [key]: _dropped, ...rest } = JSON.parse(JSON.stringify(payload));
        expect(readPayload(Buffer.from(JSON.stringify(rest))), key).toMatchObject({ kind: 'refused' });
      }
      const more = Buffer.from(JSON.stringify({ ...payload, force: 1 }));
      expect(readPayload(more)).toMatchObject({ kind: 'refused' });
    }
  });
});
