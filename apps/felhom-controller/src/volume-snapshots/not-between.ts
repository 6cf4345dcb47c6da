import { Failure } from '@felhom/kernel/failure.ts';
import { otherDebtsOwed } from '../quiesce/other-debts.ts';
import type { RunPorts } from '../quiesce/ports.ts';

/**
 * What a restore or an upgrade has left half done is no data to keep as the last good one, to put something over, or to
 * remove snapshots of. @throws Failure `busy`; nothing was touched.
 */
export async function requireNotBetween(ports: Pick<RunPorts, 'otherDebts'>, stack: string): Promise<void> {
  const others = await otherDebtsOwed(ports);
  if (others.every((other) => other.stack !== null && other.stack !== stack)) return;
  throw new Failure('busy', {
    message: `an upgrade or a restore of ${stack} was cut off and has not come to its end yet. Nothing was touched`,
    hint: `Settle it first: felhom-controller recover. What it waits for: felhom-controller upgrade status ${stack}`,
  });
}
