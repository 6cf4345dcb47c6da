import { sign } from 'node:crypto';
import { forgetSecrets } from '@felhom/kernel/redact.ts';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { decodeCanonicalBase64 } from './base64.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import { formatKeyLine, generateSigningKey, parseKeyLine, type SignerKey } from './keys.ts';
import { preAuthenticationEncoding } from './pae.ts';

afterAll(forgetSecrets);

const type = 'application/vnd.example.v1+json';
const [anna, ben, eve] = [generateSigningKey(), generateSigningKey(), generateSigningKey()];
const signerOf = ({ publicKey }: typeof anna, name: string): SignerKey => {
  const signer = parseKeyLine(formatKeyLine(publicKey, name));
  if (signer === null) throw new Error('no key line');
  return signer;
};
const rules = { payloadType: type, signers: [signerOf(anna, 'anna'), signerOf(ben, 'ben')], maxBytes: 4096 };
const payload = Buffer.from('{"do":"it"}');
const open = (text: string, more: Partial<typeof rules> = {}) => openEnvelope(Buffer.from(text), { ...rules, ...more });
const edited = (
  change: (envelope: { payload: string; payloadType: string; signatures: { keyid?: string; sig: string }[] }) => void,
) => {
  const envelope = JSON.parse(sealEnvelope(type, payload, [anna]));
  change(envelope);
  return JSON.stringify(envelope);
};

describe('the encoding that is signed', () => {
  test('is the one of the DSSE specification', () => {
    const encoded = preAuthenticationEncoding('http://example.com/HelloWorld', Buffer.from('hello world'));
    expect(encoded.toString()).toBe('DSSEv1 29 http://example.com/HelloWorld 11 hello world');
  });

  test('counts bytes, not characters', () => {
    expect(preAuthenticationEncoding('t', Buffer.from('é')).toString()).toBe('DSSEv1 1 t 2 é');
  });
});

describe('an envelope', () => {
  test('gives its payload to whoever knows its signer', () => {
    expect(open(sealEnvelope(type, payload, [anna]))).toEqual({ kind: 'opened', payload, keyIds: [anna.keyId] });
  });

  test('signed by several names each key of ours once, and passes over strangers', () => {
    const opened = open(sealEnvelope(type, payload, [ben, anna, anna, eve]));
    expect(opened).toEqual({ kind: 'opened', payload, keyIds: [ben.keyId, anna.keyId] });
  });

  test('is taken in the URL-safe alphabet too, and without a key id', () => {
    const urlSafe = (text: string): string => text.replaceAll('+', '-').replaceAll('/', '_');
    const text = edited((envelope) => {
      envelope.payload = urlSafe(envelope.payload);
      envelope.signatures = envelope.signatures.map(({ sig }) => ({ sig: urlSafe(sig) }));
    });
    expect(open(text)).toMatchObject({ kind: 'opened', keyIds: [anna.keyId] });
  });

  const signedAs = (covered: Buffer): string =>
    edited((envelope) => {
      envelope.signatures = [{ keyid: anna.keyId, sig: sign(null, covered, anna.privateKey).toString('base64') }];
    });

  test.each([
    [
      'an altered payload',
      edited((envelope) => (envelope.payload = Buffer.from('{"do":"more"}').toString('base64'))),
      'bad_signature',
    ],
    [
      'an altered payload without a key id',
      edited((envelope) => {
        envelope.payload = Buffer.from('{"do":"more"}').toString('base64');
        envelope.signatures = envelope.signatures.map(({ sig }) => ({ sig }));
      }),
      'unknown_key',
    ],
    ['a signature over the payload alone', signedAs(payload), 'bad_signature'],
    [
      'a signature over its hand-made encoding of DSSE version 0',
      signedAs(Buffer.from(`DSSEv0 ${type.length} ${type} ${payload.length} ${payload.toString()}`)),
      'bad_signature',
    ],
    [
      'a signature made for another type',
      signedAs(preAuthenticationEncoding('application/json', payload)),
      'bad_signature',
    ],
    ['another type', sealEnvelope('application/vnd.example.v2+json', payload, [anna]), 'wrong_payload_type'],
    ['the signature of a stranger', sealEnvelope(type, payload, [eve]), 'unknown_key'],
    [
      "a stranger's signature under the name of a signer",
      edited((envelope) => {
        envelope.signatures = JSON.parse(sealEnvelope(type, payload, [eve])).signatures;
        for (const signature of envelope.signatures) signature.keyid = anna.keyId;
      }),
      'bad_signature',
    ],
    [
      "a signer's signature under the name of another signer",
      edited((envelope) => {
        for (const signature of envelope.signatures) signature.keyid = ben.keyId;
      }),
      'bad_signature',
    ],
    [
      'one good and one broken signature',
      edited((envelope) => {
        envelope.signatures.push({ keyid: ben.keyId, sig: envelope.signatures[0]?.sig ?? '' });
      }),
      'bad_signature',
    ],
    ['no signature', edited((envelope) => (envelope.signatures = [])), 'unsigned'],
    ['nine signatures', sealEnvelope(type, payload, Array(9).fill(anna)), 'malformed'],
    ['a short signature', edited((envelope) => (envelope.signatures = [{ sig: 'AAAA' }])), 'malformed'],
    ['an unknown key', edited((envelope) => Object.assign(envelope, { extra: 1 })), 'malformed'],
    ['a missing key', '{"payload":"","payloadType":"x"}', 'malformed'],
    ['a key twice', sealEnvelope(type, payload, [anna]).replace('{', '{"payload":"AAAA",'), 'duplicate_key'],
    ['text that is no JSON', 'felhom', 'malformed'],
    ['a list', '[]', 'malformed'],
    [
      'base64 without padding',
      edited((envelope) => (envelope.payload = envelope.payload.replace(/=+$/, ''))),
      'malformed',
    ],
    ['base64 with a line break', edited((envelope) => (envelope.payload = `${envelope.payload}\n`)), 'malformed'],
    ['base64 with stray bits', edited((envelope) => (envelope.payload = 'eyJkbyI6Iml0In1=')), 'malformed'],
    ['too many bytes', ' '.repeat(4097), 'oversized'],
  ])('with %s is refused', (_, text, reason) => {
    expect(open(text)).toMatchObject({ kind: 'refused', reason });
  });

  test('by a key that was revoked is refused by that name, also beside a good one', () => {
    const signers = [signerOf(anna, 'anna'), { ...signerOf(ben, 'ben'), revoked: true }];
    expect(open(sealEnvelope(type, payload, [ben]), { signers })).toMatchObject({ reason: 'revoked_key' });
    expect(open(sealEnvelope(type, payload, [anna, ben]), { signers })).toMatchObject({ reason: 'revoked_key' });
  });

  test('is refused where nobody may sign', () => {
    expect(open(sealEnvelope(type, payload, [anna]), { signers: [] })).toMatchObject({ reason: 'no_signers' });
  });

  test('with one byte changed anywhere never opens with another payload', () => {
    const good = Buffer.from(sealEnvelope(type, payload, [anna]));
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(good);
        bytes[at] = (bytes[at] ?? 0) ^ change;
        const opened = openEnvelope(bytes, rules);
        if (opened.kind === 'opened') expect(opened.payload).toEqual(payload);
      }),
      { numRuns: 500 },
    );
  });
});

test('every text that decodes as base64 is the only one for its bytes in its alphabet', () => {
  fc.assert(
    fc.property(fc.base64String(), (text) => {
      const bytes = decodeCanonicalBase64(text);
      if (bytes !== null) expect(bytes.toString('base64')).toBe(text);
    }),
  );
});
