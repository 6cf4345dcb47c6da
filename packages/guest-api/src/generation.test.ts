import { describe, expect, it } from 'vitest';
import { memoryGeneration, newerGeneration } from './generation.ts';
import { canonicalFingerprint } from './pinned-connector.ts';

describe('a generation', () => {
  it('only ever rises, whatever is offered in which order', async () => {
    const offers = ['3', '12', '', '7', '-1', '99999999999999999999', 'x', '12', '011', '13', '1e9', '4', ' 20'];
    for (let turn = 0; turn < offers.length; turn += 1) {
      const store = memoryGeneration();
      for (const offer of [...offers.slice(turn), ...offers.slice(0, turn)]) {
        const before = store.value;
        const next = newerGeneration(offer, before);
        if (next !== undefined) await store.write(next);
        expect(Number(store.value ?? 0)).toBeGreaterThanOrEqual(Number(before ?? 0));
      }
      expect(store.value).toBe('13');
    }
  });
});

describe('a fingerprint', () => {
  it('is the same in every spelling, and none of another length', () => {
    for (const byte of [0, 1, 0x0a, 0xff]) {
      const hex = Buffer.alloc(32, byte).toString('hex');
      const canonical = (hex.toUpperCase().match(/../g) ?? []).join(':');
      for (const spelled of [hex, hex.toUpperCase(), canonical, `sha256:${hex}`, `SHA256:${canonical}`]) {
        expect(canonicalFingerprint(spelled)).toBe(canonical);
      }
      expect(canonicalFingerprint(hex.slice(2))).toBeUndefined();
    }
  });
});
