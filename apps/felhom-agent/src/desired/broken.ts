import type { GuestFile } from '../config.ts';
import type { DesiredProblem } from '../reconcile/model.ts';

/**
 * The guests' files with a stand-in for each that is not understood: what such a guest should be, and
 * when it is backed up, is not known, so that it counts as left to a person until its file is right.
 */
export function leavingBrokenAlone(
  guests: ReadonlyMap<number, GuestFile>,
  problems: readonly DesiredProblem[],
): ReadonlyMap<number, GuestFile> {
  const all = new Map(guests);
  for (const { vmid, source } of problems)
    if (vmid !== null) all.set(vmid, { vmid, held: `${source} has a mistake: felhom-agent config check` });
  return all;
}
