import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { MarkerStore } from './marker-store.ts';

/** What the contract suites store. */
export const owed = z.object({ run: z.string().min(1), containers: z.array(z.string()) });
export type Owed = z.infer<typeof owed>;

/** What a marker store must do, whatever it is made of. `make` gives a second store over the same place when called again. */
export function markerStoreContract(what: string, place: () => Promise<{ make: () => MarkerStore<Owed> }>): void {
  const first: Owed = { run: 'r1', containers: ['a', 'b'] };
  const second: Owed = { run: 'r2', containers: ['c'] };

  describe(`marker store contract: ${what}`, () => {
    test('holds nothing at first', async () => {
      const { make } = await place();
      expect(await make().read()).toEqual({ kind: 'absent' });
    });

    test('gives back what was written, to another store over the same place too', async () => {
      const { make } = await place();
      await make().write(first);
      expect(await make().read()).toEqual({ kind: 'present', value: first });
    });

    test('holds the last value written', async () => {
      const { make } = await place();
      const store = make();
      await store.write(first);
      await store.write(second);
      expect(await store.read()).toEqual({ kind: 'present', value: second });
    });

    test('is absent after an erase, and erasing twice is fine', async () => {
      const { make } = await place();
      const store = make();
      await store.write(first);
      await store.erase();
      await store.erase();
      expect(await store.read()).toEqual({ kind: 'absent' });
    });

    test('refuses a value that does not fit its schema and keeps the one before', async () => {
      const { make } = await place();
      const store = make();
      await store.write(first);
      await expect(store.write({ run: '', containers: [] })).rejects.toMatchObject({ code: 'bug' });
      expect(await store.read()).toEqual({ kind: 'present', value: first });
    });

    test('does not share the value with whoever wrote or read it', async () => {
      const { make } = await place();
      const store = make();
      const mine: Owed = { run: 'r1', containers: ['a'] };
      await store.write(mine);
      mine.containers.push('later');
      const read = await store.read();
      expect(read).toEqual({ kind: 'present', value: { run: 'r1', containers: ['a'] } });
      if (read.kind === 'present') read.value.containers.push('mine');
      expect(await store.read()).toEqual({ kind: 'present', value: { run: 'r1', containers: ['a'] } });
    });
  });
}
