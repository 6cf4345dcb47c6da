import { asFailure, Failure, type FailureCode } from '@felhom/kernel/failure.ts';
import type { OldService } from './debt.ts';
import type { VerifiedData } from './ports.ts';
import type { Transaction } from './run.ts';

/*
 * Invariants
 * - Whether there is a way back is found out while the new version still stands: nothing is removed for a way that ends
 *   nowhere.
 * - What a later try may answer otherwise (docker that does not answer) is thrown, and the debt stays.
 */

export type WayBack =
  /** `data`: to be put back; null: it is as it was, or there is none. */
  { kind: 'open'; data: VerifiedData | null } | { kind: 'lost'; failure: Failure };

/** Looks for everything of which the old version is made again: its images, and its data, all of which is read. */
export async function findWayBack(transaction: Transaction): Promise<WayBack> {
  const { ports, debt } = transaction;
  try {
    await requireImages(transaction);
  } catch (error) {
    return lostUnlessForLater(error);
  }
  if (debt.snapshot_id === null || debt.data_restored) return { kind: 'open', data: null };
  // Nothing of the new version was ever started: the data is the old one's, with what it has written since the snapshot.
  if (debt.activated_at_ms === null) return { kind: 'open', data: null };
  try {
    return { kind: 'open', data: await ports.data.verify(debt.stack, debt.snapshot_id) };
  } catch (error) {
    return lostUnlessForLater(error);
  }
}

function lostUnlessForLater(error: unknown): Extract<WayBack, { kind: 'lost' }> {
  const failure = asFailure(error);
  if (isForLater(failure)) throw failure;
  return { kind: 'lost', failure };
}

/** These say nothing of the way back. `busy`, `apps_down`: a restore is half exchanged, and only its own recovery may go on. */
const forLater: ReadonlySet<FailureCode> = new Set([
  'docker_unreachable',
  'busy',
  'apps_down',
  'state_newer',
  'state_unreadable',
  'interrupted',
  'terminated',
]);

/** The debt stays, and the next recovery goes on. */
export function isForLater({ code }: Failure): boolean {
  return forLater.has(code);
}

/** The images that ran, by id; one that was pruned meanwhile is fetched by its digest, which is the same image. */
async function requireImages({ ports: { engine }, debt, settings, warn }: Transaction): Promise<void> {
  for (const old of debt.old.filter(({ ran }) => ran)) {
    if ((await engine.image(old.image_id)) !== null) continue;
    for (const digest of old.digests) {
      warn(`the image of ${debt.stack}/${old.name} that ran before is gone; it is fetched again: ${digest}`);
      await engine.pull(digest, { boundMs: settings.bounds.pullMs }).catch((error: unknown) => {
        const failure = asFailure(error);
        if (failure.code !== 'image_unavailable') throw failure;
        warn(failure.message);
      });
      if ((await engine.image(old.image_id)) !== null) break;
    }
    if ((await engine.image(old.image_id)) === null) throw imageGone(debt.stack, old);
  }
}

function imageGone(stack: string, { name, image_ref: ref, image_id: id }: OldService): Failure {
  return new Failure('image_unavailable', {
    message: `the image of ${stack}/${name} that ran before (${ref}, ${id.slice(0, 19)}) is gone from this machine`,
    hint: `Fetch or load it (docker pull ${ref}), then: felhom-controller upgrade rollback ${stack}`,
  });
}
