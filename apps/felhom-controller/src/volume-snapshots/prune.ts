import { Failure } from '@felhom/kernel/failure.ts';
import type { Catalog } from './catalog.ts';

/**
 * Removes the oldest snapshots of a stack: all but the newest `keep`, and never the last good one. Damaged ones count as
 * none and stay: a person may still find something in them.
 */
export async function pruneSnapshots(
  catalog: Pick<Catalog, 'lastGood' | 'list' | 'remove'>,
  stack: string,
  keep: number,
): Promise<{ removed: string[]; kept: string[] }> {
  const pointer = await catalog.lastGood(stack);
  const listed = await catalog.list(stack);
  if (pointer.kind === 'unreadable') {
    throw new Failure('state_unreadable', {
      message: `no snapshot of ${stack} was removed: nobody can tell which is the last good one, its pointer cannot be read`,
      hint: `Look at: felhom-controller snapshot list ${stack}; a new snapshot writes the pointer anew.`,
    });
  }
  const readable = listed.filter(({ kind }) => kind === 'readable');
  const leaving = readable.slice(keep).filter(({ isLastGood }) => !isLastGood);
  for (const { id } of leaving.toReversed()) await catalog.remove(stack, id);
  const removed = leaving.map(({ id }) => id);
  return { removed, kept: listed.map(({ id }) => id).filter((id) => !removed.includes(id)) };
}
