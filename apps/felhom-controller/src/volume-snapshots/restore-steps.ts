import { dirname } from 'node:path/posix';
import { Failure } from '@felhom/kernel/failure.ts';
import type { SnapshotPorts } from './ports.ts';
import type { RestoreDebt, SwapItem } from './restore-debt.ts';
import { swapBack, swapIn } from './swap.ts';

/*
 * The steps of a restore that may be taken again after any crash. A restore that lives takes the same ones.
 */

type StepPorts = Pick<SnapshotPorts, 'disk' | 'debts' | 'engine'>;

/** From `swapping` on: everything into place. Once it resolves there is no way back: the old may be half removed. */
export async function swapAll(ports: StepPorts, debt: RestoreDebt): Promise<void> {
  for (const item of debt.items) await swapIn(ports.disk, item);
  await ports.debts.write({ ...debt, phase: 'cleaning' });
}

/** All is in its place, old or new: restart policies come back, what lies beside goes, and the debt with it. */
export async function cleanRestore({ disk, debts, engine }: StepPorts, debt: RestoreDebt): Promise<void> {
  for (const { id, name, retries } of debt.policies) await engine.setRestartPolicy(id, { name, retries });
  for (const item of debt.items) await removeTraces(disk, item);
  await debts.erase();
}

/** A swap failed: all that was swapped goes back. @throws Failure where even that fails; the debt then stays. */
export async function undoRestore(ports: StepPorts, debt: RestoreDebt, cause: unknown): Promise<void> {
  const undoing: RestoreDebt = { ...debt, phase: 'undoing' };
  try {
    await ports.debts.write(undoing);
    await swapAllBack(ports, undoing);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    throw new Failure('apps_down', {
      message: `the data of ${debt.stack} is half exchanged, and taking it back failed: ${words}. Do not start the stack`,
      hint: 'Correct the cause (dmesg, df, mount), then: felhom-controller recover',
      cause,
    });
  }
  await cleanRestore(ports, debt).catch(() => undefined); // The debt stays, and recovery removes what is left.
}

/** From `undoing` on: everything back. */
export async function swapAllBack(ports: StepPorts, debt: RestoreDebt): Promise<void> {
  for (const item of debt.items.toReversed()) await swapBack(ports.disk, item);
  await ports.debts.write({ ...debt, phase: 'undone' });
}

async function removeTraces(disk: SnapshotPorts['disk'], { kind, fresh, aside }: SwapItem): Promise<void> {
  if (kind === 'contents') return await disk.remove(dirname(fresh));
  await disk.remove(fresh);
  await disk.remove(aside);
}
