import { stackOf } from './marker.ts';
import { type OtherDebts, otherDebtsOwed } from './other-debts.ts';
import type { MarkerPort, MarkerRead } from './ports.ts';

export interface OwedPorts {
  markers: Pick<MarkerPort, 'read'>;
  otherDebts: readonly OtherDebts[];
}

/**
 * Whether a run that was cut off still owes this stack something: containers a start, a command, a restore its end. What
 * cannot be read may be about any stack. Reads only; certain only under the run lock.
 */
export async function isStackOwed({ markers, otherDebts }: OwedPorts, stack: string): Promise<boolean> {
  if (markerOwes(await markers.read(), stack)) return true;
  return (await otherDebtsOwed({ otherDebts })).some((other) => other.stack === null || other.stack === stack);
}

/** The same of the marker alone: containers of this stack a start, or a command after it. */
export function markerOwes(read: MarkerRead, stack: string): boolean {
  if (read.kind !== 'present') return read.kind !== 'absent';
  const { debts, after_start: commands } = read.value;
  return debts.some((debt) => stackOf(debt) === stack) || commands.some((command) => command.stack === stack);
}
