import { stackOf } from './marker.ts';
import { type OtherDebts, otherDebtsOwed } from './other-debts.ts';
import type { MarkerPort } from './ports.ts';

export interface OwedPorts {
  markers: Pick<MarkerPort, 'read'>;
  otherDebts: readonly OtherDebts[];
}

/**
 * Whether a run that was cut off still owes this stack something: containers a start, a command, a restore its end. What
 * cannot be read may be about any stack. Reads only; certain only under the run lock.
 */
export async function isStackOwed({ markers, otherDebts }: OwedPorts, stack: string): Promise<boolean> {
  const read = await markers.read();
  if (read.kind === 'present') {
    const { debts, after_start: commands } = read.value;
    if (debts.some((debt) => stackOf(debt) === stack) || commands.some((command) => command.stack === stack))
      return true;
  } else if (read.kind !== 'absent') return true;
  return (await otherDebtsOwed({ otherDebts })).some((other) => other.stack === null || other.stack === stack);
}
