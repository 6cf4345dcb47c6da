import { expect, it } from 'vitest';
import type { Fetched } from './fetch-document.ts';
import { openDocument } from './judge-document.ts';
import { nothingKept } from './kept-document.ts';
import { sampleAgent, sampleDocument, sampleKey, sealed, signerOf, strangerKey } from './sample-document.ts';
import { settleDocument } from './settle-document.ts';

const rules = {
  url: 'https://declared.example/pve1',
  signers: [signerOf(sampleKey)],
  agentId: sampleAgent,
  maxBytes: 2 ** 20,
  nowMs: Date.parse('2026-11-24T13:00:00Z'),
};
const came = (envelope: string, etag = '"1"'): Fetched => ({
  kind: 'document',
  bytes: Buffer.from(envelope),
  etag,
});
const first = settleDocument(nothingKept, came(sealed()), rules);

it('the same document once more changes nothing', () => {
  expect(settleDocument(first, came(sealed()), { ...rules, nowMs: rules.nowMs + 60_000 })).toBe(first);
});

it('the same document from another address or by another validator is not sent anew in every pass', () => {
  const moved = { ...rules, url: 'https://other.example/pve1', nowMs: rules.nowMs + 60_000 };
  expect(settleDocument(first, came(sealed(), '"2"'), moved)).toEqual({
    trouble: null,
    document: { ...first.document, url: moved.url, etag: '"2"' },
  });
});

it('the same document signed anew stays in force when the key that signed it first is revoked', () => {
  const signers = [signerOf(sampleKey, { revoked: true }), signerOf(strangerKey)];
  const now = settleDocument(first, came(sealed(sampleDocument(), strangerKey), '"2"'), { ...rules, signers });
  const inForce = Buffer.from(now.document?.envelope ?? '');
  expect(openDocument(inForce, { ...rules, signers })).toMatchObject({ kind: 'opened', document: { serial: 5 } });
  expect(now.document?.accepted_ms).toBe(first.document?.accepted_ms);
});
