import { entry, journalContract, keepOpen } from '@felhom/durable/journal.contract.ts';
import { markerStoreContract, owed } from '@felhom/durable/marker-store.contract.ts';
import { expect, test } from 'vitest';
import { journalPlace, markerPlace } from './memory-stores.ts';

markerStoreContract('memory', async () => {
  const place = markerPlace(owed);
  return { make: () => place.open() };
});

journalContract('memory', async () => {
  const place = journalPlace({ schema: entry, keep: keepOpen });
  return { open: () => place.open() };
});

test('a fork of a marker is what the guest held when its snapshot was made', async () => {
  const place = markerPlace(owed);
  await place.open().write({ run: 'r1', containers: ['a'] });
  const copy = place.fork();
  await place.open().erase();
  expect(place.isEmpty()).toBe(true);
  expect(await copy.open().read()).toMatchObject({ kind: 'present' });
});

test('a crashed writer leaves its records, and appends nothing more', async () => {
  const place = journalPlace({ schema: entry, keep: keepOpen });
  const dead = await place.open();
  await dead.append({ id: 'a', ends: false });
  place.crash();
  const next = await place.open();
  await expect(dead.append({ id: 'b', ends: false })).rejects.toMatchObject({ code: 'bug' });
  expect(next.records()).toEqual([{ id: 'a', ends: false }]);
});
