import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Kept, keptDocumentFile, keptDocumentPath } from '../desired/kept-document.ts';
import { declaredAt, declaredAttention } from './declared.ts';
import { stateReading } from './state-reading.ts';

let state: string;
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), 'felhom-status-'));
});
afterEach(() => rmSync(state, { recursive: true, force: true }));

const kept: Kept = {
  document: {
    url: 'https://config.example/pve1.json',
    envelope: '{}',
    etag: null,
    serial: 17,
    payload_sha256: 'a'.repeat(64),
    issued: '2026-11-24T12:00:00Z',
    expires: '2026-12-24T12:00:00Z',
    accepted_at: '2026-11-24T12:00:30.000Z',
    accepted_ms: 1,
    key_ids: ['b'.repeat(32)],
  },
  trouble: { since: '2026-11-25T00:00:00.000Z', reason: 'older_serial', message: 'it has the serial 16' },
};
const early = Date.parse('2026-11-26T00:00:00Z');

describe('status', () => {
  it('names the document in force and its trouble as its writer left them', async () => {
    await keptDocumentFile(state).write(kept);
    const declared = declaredAt(stateReading(state));
    expect(declared).toEqual({
      url: 'https://config.example/pve1.json',
      serial: 17,
      accepted_at: '2026-11-24T12:00:30.000Z',
      expires: '2026-12-24T12:00:00Z',
      trouble: kept.trouble,
    });
    expect(declared === null ? null : declaredAttention(declared, early)).toEqual([
      {
        message: expect.stringMatching(/older_serial.*16; serial 17 stays in force/),
        hint: 'felhom-agent desired show',
      },
    ]);
  });

  it('wants a look when the document is past its time, and none when all is well', async () => {
    await keptDocumentFile(state).write({ ...kept, trouble: null });
    const declared = declaredAt(stateReading(state));
    if (declared === null) throw new Error('nothing is declared');
    expect(declaredAttention(declared, early)).toEqual([]);
    expect(declaredAttention(declared, Date.parse('2027-01-01T00:00:00Z'))).toMatchObject([
      { message: expect.stringContaining('expired at 2026-12-24') },
    ]);
  });

  it('says so when no document was ever had', async () => {
    await keptDocumentFile(state).write({ ...kept, document: null });
    const declared = declaredAt(stateReading(state));
    expect(declared === null ? null : declaredAttention(declared, early)).toMatchObject([
      { message: expect.stringContaining('none is in force, and guests stay as they are') },
    ]);
  });

  it('has nothing to say where no document is kept, or a damaged file', () => {
    expect(declaredAt(stateReading(state))).toBeNull();
    writeFileSync(keptDocumentPath(state), '{"version":1,"value":{"docu');
    expect(declaredAt(stateReading(state))).toBeNull();
  });
});
