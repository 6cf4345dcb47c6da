import { forgetSecrets, redact } from '@felhom/kernel/redact.ts';
import { afterEach, expect, test } from 'vitest';
import { formatKeyLine, generateSigningKey, parseKeyLine, readSigningKey } from './keys.ts';

afterEach(forgetSecrets);

test('a key line names the key that it was made from', () => {
  const made = generateSigningKey();
  const read = parseKeyLine(formatKeyLine(made.publicKey, 'anna, workstation'));
  expect(read).toMatchObject({ keyId: made.keyId, name: 'anna, workstation', revoked: false });
  expect(read?.publicKey.equals(made.publicKey)).toBe(true);
  expect(made.keyId).toMatch(/^[0-9a-f]{32}$/);
});

test('a key line without a name, and one that is revoked', () => {
  const { publicKey } = generateSigningKey();
  const line = formatKeyLine(publicKey, '');
  expect(parseKeyLine(line)?.name).toBe('');
  expect(parseKeyLine(`revoked ${line} old laptop\n`)).toMatchObject({ name: 'old laptop', revoked: true });
});

test.each(['', 'ed25519:', 'ed25519:AAAA', 'rsa:AAAA', '# ed25519', 'ed25519 AAAA'])('%j is no key line', (text) => {
  expect(parseKeyLine(text)).toBeNull();
});

test('stray bits in the last character of a key are refused', () => {
  const line = formatKeyLine(generateSigningKey().publicKey, '');
  const last = line.at(-2) ?? '';
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const other = alphabet[alphabet.indexOf(last) + 1] ?? '';
  expect(parseKeyLine(`${line.slice(0, -2)}${other}=`)).toBeNull();
});

test('a private key is read from its text and can never be printed', () => {
  const made = generateSigningKey();
  expect(readSigningKey(made.pem).keyId).toBe(made.keyId);
  expect(redact(`said: ${made.pem}`)).not.toContain(made.pem.split('\n')[1] ?? '-');
});

test.each(['', 'nonsense', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'])(
  '%j is no private key, and the error does not quote it',
  (text) => {
    expect(() => readSigningKey(text)).toThrow(/no Ed25519 private key/);
  },
);
