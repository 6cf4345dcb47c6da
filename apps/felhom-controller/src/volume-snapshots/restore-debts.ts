import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { givePoliciesBack } from '../quiesce/give-policies-back.ts';
import type { OtherDebts, OtherSettled } from '../quiesce/other-debts.ts';
import type { SnapshotPorts } from './ports.ts';
import type { RestoreDebt } from './restore-debt.ts';
import { cleanRestore, swapAll, swapAllBack } from './restore-steps.ts';
import { requireDown } from './seen-down.ts';

type SettlePorts = Pick<SnapshotPorts, 'disk' | 'debts' | 'engine'>;

const nothing: OtherSettled = { started: [], owed: [], failure: null };

/**
 * A restore that was cut off, as recovery settles it: undone while it only unpacked, finished once the first rename may
 * have been made. It starts nothing: the stack was down before, and whoever stopped it starts it.
 */
export function restoreDebts(ports: SettlePorts): OtherDebts {
  return {
    owed: async () => {
      const read = await ports.debts.read();
      if (read.kind === 'absent') return null;
      if (read.kind !== 'present') return { stack: null, deadlineMs: 0, engineId: null };
      // It has nothing of its own down, so nobody need be ended for it: what a dead one left running is waited for.
      return { stack: read.value.stack, deadlineMs: read.value.begun_at_ms, engineId: read.value.engine_id };
    },
    settle: async ({ warn }) => await settle(ports, warn),
    forgive: async (stack) => {
      const read = await ports.debts.read();
      if (read.kind !== 'present' || read.value.stack !== stack) return false;
      await givePoliciesBack(ports.engine, read.value.policies);
      await ports.debts.erase();
      return true;
    },
    sweep: async () => await ports.debts.sweep(),
  };
}

async function settle(ports: SettlePorts, warn: (text: string) => void): Promise<OtherSettled> {
  const read = await ports.debts.read();
  if (read.kind === 'absent') return nothing;
  if (read.kind === 'newer') return { ...nothing, failure: newer(read.version) };
  if (read.kind === 'unreadable') return { ...nothing, failure: unreadable(read.reason) };
  const debt = read.value;
  try {
    await carryOn(ports, debt);
    warn(
      `the restore of ${debt.stack} that was cut off was ${isForward(debt) ? 'finished' : 'undone: its data is as it was before'}`,
    );
    return nothing;
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code === 'docker_unreachable') throw failure;
    return { ...nothing, failure: stuck(debt, failure) };
  }
}

async function carryOn(ports: SettlePorts, debt: RestoreDebt): Promise<void> {
  // What is only unpacked, or only left over, may go whoever runs.
  if (isHalfExchanged(debt)) {
    requireDown(debt.stack, await ports.engine.list(), 'finishing its restore');
    if (debt.phase === 'swapping') await swapAll(ports, debt);
    else await swapAllBack(ports, debt);
  }
  await cleanRestore(ports, debt);
}

function isHalfExchanged({ phase }: RestoreDebt): boolean {
  return phase === 'swapping' || phase === 'undoing';
}

function isForward({ phase }: RestoreDebt): boolean {
  return phase === 'swapping' || phase === 'cleaning';
}

function stuck(debt: RestoreDebt, cause: Failure): Failure {
  const { stack } = debt;
  if (!isHalfExchanged(debt)) {
    return new Failure('operation_failed', {
      message: `the data of ${stack} is whole, and what its restore left beside it cannot be removed: ${cause.message}`,
      hint: `Correct the cause (lsattr, dmesg), then: felhom-controller recover. Or remove it by hand: ${debt.items.map(({ aside }) => aside).join(' ')}`,
      cause,
    });
  }
  return new Failure('operation_failed', {
    message: `the data of ${stack} is half exchanged by a restore that was cut off, and it cannot be finished: ${cause.message}`,
    hint: `Stop the stack (docker compose -p ${stack} stop), correct the cause, then: felhom-controller recover`,
    cause,
  });
}

function newer(version: number): Failure {
  return new Failure('state_newer', {
    message: `the marker of a restore was written by a newer version of this program (format ${version}); its stack may hold half exchanged data`,
    hint: 'Install the newer felhom-controller again, then: felhom-controller recover',
  });
}

function unreadable(reason: string): Failure {
  return new Failure('state_unreadable', {
    message: `the marker of a restore cannot be read (${reason}); its stack may hold half exchanged data`,
    hint: 'Look for folders called .felhom-restore-* beside the data of your stacks (.old holds what was there before), then remove the files restore.* in the folder of debts.',
  });
}
