import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type DocumentRules, judgeDocument, type Seen } from './judge-document.ts';
import { sampleAgent, sampleDocument, sampleKey, sealed, signerOf, strangerKey } from './sample-document.ts';

const now = Date.parse('2026-11-25T00:00:00Z');
const rules: DocumentRules = {
  signers: [signerOf(sampleKey)],
  agentId: sampleAgent,
  maxBytes: 2 ** 20,
  seen: null,
  nowMs: now,
};

const judge = (envelope: string, more: Partial<DocumentRules> = {}) =>
  judgeDocument(Buffer.from(envelope), { ...rules, ...more });
const seen = (document = sampleDocument(), atMs = now): Seen => ({
  serial: document.serial,
  payloadSha256: createHash('sha256').update(JSON.stringify(document)).digest('hex'),
  atMs,
});

describe('a document', () => {
  it('that is signed, meant for this agent, newer and in its time is accepted', () => {
    expect(judge(sealed())).toMatchObject({ kind: 'accepted', document: { serial: 5 }, keyIds: [sampleKey.keyId] });
    expect(judge(sealed(sampleDocument({ serial: 6 })), { seen: seen() })).toMatchObject({ kind: 'accepted' });
  });

  it('that was accepted last is the same, also after its time and under another signature', () => {
    const late = Date.parse('2027-06-01T00:00:00Z');
    expect(judge(sealed(), { seen: seen(), nowMs: late })).toMatchObject({ kind: 'same' });
    expect(
      judge(sealed(sampleDocument(), strangerKey), { seen: seen(), signers: [signerOf(strangerKey)] }),
    ).toMatchObject({
      kind: 'same',
    });
  });

  const text = JSON.stringify(sampleDocument());
  const altered = sealed().replace(
    /"payload": "[^"]+"/,
    `"payload": "${Buffer.from(text.replace('cores: 2', 'cores: 9')).toString('base64')}"`,
  );
  const attacks: [string, string, Partial<DocumentRules>, string][] = [
    ['altered', altered, {}, 'bad_signature'],
    ['signed by a stranger', sealed(sampleDocument(), strangerKey), {}, 'unknown_key'],
    ['signed by a key that is revoked', sealed(), { signers: [signerOf(sampleKey, { revoked: true })] }, 'revoked_key'],
    ['where nobody may sign', sealed(), { signers: [] }, 'no_signers'],
    ['without a signature', sealed().replace(/"signatures": \[[\s\S]*\]/, '"signatures": []'), {}, 'unsigned'],
    ['for another agent', sealed(sampleDocument({ agents: ['f'.repeat(32)] })), {}, 'other_agent'],
    ['with an older serial', sealed(sampleDocument({ serial: 4 })), { seen: seen() }, 'older_serial'],
    [
      'with a serial that was used for another',
      sealed(sampleDocument({ files: [] })),
      { seen: seen() },
      'serial_reused',
    ],
    ['that has expired', sealed(), { nowMs: Date.parse('2026-12-24T12:00:00Z') }, 'expired'],
    [
      'that has expired, with the clock set back',
      sealed(sampleDocument({ serial: 6 })),
      { seen: seen(sampleDocument(), Date.parse('2026-12-25T00:00:00Z')) },
      'expired',
    ],
    ['that is issued in the future', sealed(), { nowMs: Date.parse('2026-11-24T11:54:59Z') }, 'not_yet_valid'],
    [
      'that is an operation',
      sealed(sampleDocument(), sampleKey, 'application/vnd.felhom.operation.v1+json'),
      {},
      'wrong_payload_type',
    ],
    ['that is too long', sealed(), { maxBytes: 100 }, 'oversized'],
    ['that is no envelope', 'vmid: 101', {}, 'malformed'],
    ['with a key that stands twice', sealed(text.replace('{', '{"serial":9,')), {}, 'duplicate_key'],
    ['with a key that nobody knows', sealed({ ...sampleDocument(), force: true }), {}, 'malformed_payload'],
    ['without a serial', sealed({ ...sampleDocument(), serial: undefined }), {}, 'malformed_payload'],
    ['with a serial that no number holds', sealed({ ...sampleDocument(), serial: 2 ** 60 }), {}, 'malformed_payload'],
    ['without an end', sealed(sampleDocument({ expires: '2036-12-24T12:00:00Z' })), {}, 'malformed_payload'],
    [
      'that ends before it begins',
      sealed(sampleDocument({ expires: '2026-11-24T12:00:00Z' })),
      {},
      'malformed_payload',
    ],
    ['with a day that is none', sealed(sampleDocument({ expires: '2026-12-41T12:00:00Z' })), {}, 'malformed_payload'],
    [
      'with one file twice',
      sealed(
        sampleDocument({
          files: [
            { name: 'a.yaml', text: '' },
            { name: 'a.yaml', text: '' },
          ],
        }),
      ),
      {},
      'malformed_payload',
    ],
    [
      'with a file that is a path',
      sealed(sampleDocument({ files: [{ name: '../a', text: '' }] })),
      {},
      'malformed_payload',
    ],
  ];

  it.each(attacks)('%s is refused', (_name, envelope, more, reason) => {
    expect(judge(envelope, more)).toMatchObject({ kind: 'refused', reason });
  });
});
