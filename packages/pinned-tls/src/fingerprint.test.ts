import { describe, expect, it } from 'vitest';
import { canonicalFingerprint } from './fingerprint.ts';

describe('a fingerprint', () => {
  it('is the same in every spelling, and none of another length', () => {
    for (const byte of [0, 1, 0x0a, 0xff]) {
      const hex = Buffer.alloc(32, byte).toString('hex');
      const canonical = (hex.toUpperCase().match(/../g) ?? []).join(':');
      for (const spelled of [hex, hex.toUpperCase(), canonical, `sha256:${hex}`, `SHA256:${canonical}`, ` ${hex}\n`]) {
        expect(canonicalFingerprint(spelled)).toBe(canonical);
      }
      expect(canonicalFingerprint(hex.slice(2))).toBeUndefined();
      expect(canonicalFingerprint(`${hex}00`)).toBeUndefined();
      expect(canonicalFingerprint(hex.replace(/..$/, 'zz'))).toBeUndefined();
    }
  });
});
