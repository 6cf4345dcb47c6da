import { describe, expect, it } from 'vitest';
import { memoryGeneration, newerGeneration } from './generation.ts';

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
