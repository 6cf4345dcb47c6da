import { Failure } from '@felhom/kernel/failure.ts';
import type { Desired } from '../reconcile/model.ts';

/**
 * What is declared of these guests alone; everything where none is named.
 * @throws Failure `unknown_guest` for one of which nothing is declared: a slip of the finger must not look like "all is well".
 */
export function chooseGuests(desired: Desired, vmids: readonly number[]): Desired {
  if (vmids.length === 0) return desired;
  const isChosen = ({ vmid }: { vmid: number | null }): boolean => vmid !== null && vmids.includes(vmid);
  const [guests, problems] = [desired.guests.filter(isChosen), desired.problems.filter(isChosen)];
  const unknown = vmids.filter((vmid) => ![...guests, ...problems].some((each) => each.vmid === vmid));
  if (unknown.length === 0) return { ...desired, guests, problems };
  throw new Failure('unknown_guest', {
    message: `nothing is declared of guest ${unknown.join(', ')}; no guest was looked at and none was changed`,
    hint: 'felhom-agent config show prints the guests of guests.d; only those with a desired section are managed.',
  });
}
