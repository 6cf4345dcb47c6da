import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Journal } from './journal.ts';

/** What the contract suites record: an entry is open until one with `ends` names it. */
export const entry = z.object({ id: z.string().min(1), ends: z.boolean() });
export type Entry = z.infer<typeof entry>;

/** Open entries stay, ended ones go. */
export function keepOpen(records: readonly Entry[]): readonly Entry[] {
  const ended = new Set(records.filter(({ ends }) => ends).map(({ id }) => id));
  return records.filter(({ id }) => !ended.has(id));
}

/** What a journal must do, whatever it is made of. `open` opens the same one again after a close. */
export function journalContract(what: string, place: () => Promise<{ open: () => Promise<Journal<Entry>> }>): void {
  const begin = (id: string): Entry => ({ id, ends: false });
  const end = (id: string): Entry => ({ id, ends: true });

  describe(`journal contract: ${what}`, () => {
    test('is empty at first and without problems', async () => {
      const journal = await (await place()).open();
      expect(journal.records()).toEqual([]);
      expect(journal.problems).toEqual([]);
      await journal.close();
    });

    test('keeps the order of appends, over a close and an open too', async () => {
      const { open } = await place();
      const journal = await open();
      await journal.append(begin('a'));
      await Promise.all(['b', 'c', 'd'].map((id) => journal.append(begin(id))));
      expect(journal.records().map(({ id }) => id)).toEqual(['a', 'b', 'c', 'd']);
      await journal.close();
      const again = await open();
      expect(again.records().map(({ id }) => id)).toEqual(['a', 'b', 'c', 'd']);
      await again.close();
    });

    test('keeps open entries when it is compacted, and what is appended meanwhile', async () => {
      const { open } = await place();
      const journal = await open();
      for (const record of [begin('a'), begin('b'), end('a'), begin('c')]) await journal.append(record);
      await Promise.all([journal.append(begin('d')), journal.compact(), journal.append(begin('e'))]);
      expect(journal.records().map(({ id }) => id)).toEqual(['b', 'c', 'd', 'e']);
      await journal.close();
      const again = await open();
      expect(again.records().map(({ id }) => id)).toEqual(['b', 'c', 'd', 'e']);
      await again.close();
    });

    test('refuses a record that does not fit, and takes the next', async () => {
      const journal = await (await place()).open();
      await expect(journal.append({ id: '', ends: false })).rejects.toMatchObject({ code: 'bug' });
      await journal.append(begin('a'));
      expect(journal.records()).toEqual([begin('a')]);
      await journal.close();
    });

    test('has one writer', async () => {
      const { open } = await place();
      const journal = await open();
      await expect(open()).rejects.toMatchObject({ code: 'busy' });
      await journal.close();
      await (await open()).close();
    });

    test('takes nothing after its close, which waits for what is under way', async () => {
      const { open } = await place();
      const journal = await open();
      const appended = journal.append(begin('a'));
      await Promise.all([journal.close(), journal.close()]);
      await appended;
      await expect(journal.append(begin('b'))).rejects.toMatchObject({ code: 'bug' });
      await expect(journal.compact()).rejects.toMatchObject({ code: 'bug' });
      const again = await open();
      expect(again.records()).toEqual([begin('a')]);
      await again.close();
    });
  });
}
