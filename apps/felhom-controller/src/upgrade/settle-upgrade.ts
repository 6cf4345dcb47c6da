import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { givePoliciesBack } from '../quiesce/give-policies-back.ts';
import type { OtherDebts, OtherSettled, SettleOtherOptions } from '../quiesce/other-debts.ts';
import type { HeldLock } from '../quiesce/ports.ts';
import { bringUpNew } from './bring-up-new.ts';
import { catchUp, commit } from './commit.ts';
import type { UpgradeDebt } from './debt.ts';
import { leaveToPerson } from './leave-to-person.ts';
import type { UpgradePhase } from './phases.ts';
import type { UpgradeDebtRead, UpgradePorts } from './ports.ts';
import { letGo, owe, record, type Transaction, type UpgradeSettings } from './run.ts';
import { endForgiven, forgiveUnreadable, settleUnreadable } from './settle-unreadable.ts';
import { type TakenBack, takeBack } from './take-back.ts';
import { climbNew, noteRungs, verifyNew } from './verify.ts';

/** What an interrupted upgrade owes, as recovery settles it. */
export function upgradeDebts(ports: UpgradePorts, settings: UpgradeSettings): OtherDebts {
  return {
    owed: async () => {
      const read = await ports.debts.read();
      if (read.kind === 'absent') return null;
      if (read.kind !== 'present') return { stack: null, deadlineMs: 0, engineId: null };
      const { stack, deadline_at_ms: deadlineMs, engine_id: engineId } = read.value;
      return { stack, deadlineMs, engineId };
    },
    settle: async (options) => settleRead(ports, settings, await ports.debts.read(), options),
    forgive: async (stack) => {
      const read = await ports.debts.read();
      if (read.kind === 'unreadable' || read.kind === 'newer') return await forgiveUnreadable(ports, stack);
      if (read.kind === 'absent' || read.value.stack !== stack) return false;
      await givePoliciesBack(ports.engine, read.value.policies);
      await endForgiven(ports.machine(stack));
      await ports.files.release(read.value.reserved);
      await ports.debts.erase();
      return true;
    },
    sweep: async () => await ports.debts.sweep(),
  };
}

async function settleRead(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  read: UpgradeDebtRead,
  options: SettleOtherOptions,
): Promise<OtherSettled> {
  if (read.kind === 'absent') return { started: [], owed: [], failure: null };
  if (read.kind === 'present') return await settleUpgrade(ports, settings, read.value, options);
  return await settleUnreadable(ports, settings, read, options);
}

/** By its phase: before activation the old version starts; in between it is rolled back; while verifying it is verified again. */
export async function settleUpgrade(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  debt: UpgradeDebt,
  { inheritFds, warn, stop }: SettleOtherOptions,
): Promise<OtherSettled> {
  const lock: HeldLock = { inheritFds, update: async () => undefined, release: async () => undefined };
  const transaction: Transaction = { ports, settings, lock, debt, stop, warn };
  try {
    // Whoever finds us at it knows until when we mean to be done.
    await owe(transaction, {});
  } catch (error) {
    // No debt, only a word to others: apps come back on a full disk too.
    warn(`until when this recovery means to be done could not be written: ${asFailure(error).message}`);
  }
  const phase = await recordedPhase(transaction);
  // Seen to its end already: made a second time it would only take down what runs.
  if (debt.phase === 'rolling_back' && phase === 'rolled_back' && (await isOldUp(transaction))) {
    await letGo(transaction);
    return { started: [], owed: [], failure: null };
  }
  if (debt.phase !== 'verifying') {
    const why = debt.reason ?? 'the upgrade was interrupted';
    return settledBy(debt, await takeBack(transaction, why), why);
  }
  return await verifyAgain(transaction, phase);
}

/** Every service that ran runs, from the old image. A task that is done cannot be told from one that is down: then no. */
async function isOldUp({ ports, debt }: Transaction): Promise<boolean> {
  const own = (await ports.engine.list()).filter(({ project, oneoff }) => project === debt.stack && !oneoff);
  return debt.old.every(({ name, image_id, ran }) => {
    const containers = own.filter(({ service }) => service === name);
    const isUp = containers.every(
      ({ status, imageId }) => /^(running|restarting)$/.test(status) && imageId === image_id,
    );
    return !ran || (containers.length > 0 && isUp);
  });
}

/** Null: never begun, or unreadable; then the debt alone is gone by. */
async function recordedPhase({ ports, debt }: Transaction): Promise<UpgradePhase | null> {
  const now = await ports
    .machine(debt.stack)
    .read()
    .catch(() => null);
  return now?.phase ?? null;
}

/** The new version was started whole: where it is healthy it stays, and data that has lived on is not rolled back unasked. */
async function verifyAgain(transaction: Transaction, phase: UpgradePhase | null): Promise<OtherSettled> {
  const { ports, settings, debt } = transaction;
  const ageMs = ports.clock.nowMs() - (debt.activated_at_ms ?? 0);
  if (phase === 'success') {
    await commit(transaction);
    return { started: [], owed: [], failure: null };
  }
  await record(transaction, catchUp);
  if (ageMs > settings.bounds.verifyLimitMs) return await verifyLate(transaction);
  try {
    // After an engine restart some of it may be down.
    await bringUpNew(transaction);
    await verifyNew(transaction);
    await commit(transaction);
    return { started: [...debt.up], owed: [], failure: null };
  } catch (error) {
    if (!(error instanceof Failure) || isForLater(error)) throw error;
    return settledBy(debt, await takeBack(transaction, error.message), error.message);
  }
}

/** Nothing is wrong with the version: the debt stays, and the next recovery goes on. */
function isForLater({ code }: Failure): boolean {
  return code === 'docker_unreachable' || code === 'interrupted' || code === 'terminated';
}

/** Too much may have been written since: a person decides. The new version is brought up, and stays. */
async function verifyLate(transaction: Transaction): Promise<OtherSettled> {
  const { debt } = transaction;
  await bringUpNew(transaction);
  const end = await climbNew(transaction);
  await noteRungs(transaction, end.rungs);
  if (end.why === null) {
    await commit(transaction);
    return { started: [...debt.up], owed: [], failure: null };
  }
  const message = `the new version of ${debt.stack} is not healthy (${end.why}) and is too old to be rolled back unasked: its data has lived on`;
  const hint = `Take it back: felhom-controller upgrade rollback ${debt.stack}; or mend it, then: felhom-controller upgrade healthcheck ${debt.stack}`;
  await leaveToPerson(transaction, end, { message, hint });
  return { started: [], owed: [], failure: new Failure('upgrade_failed', { message, hint }) };
}

function settledBy(debt: UpgradeDebt, end: TakenBack, why: string): OtherSettled {
  return {
    started: end.started,
    owed: end.owed,
    failure: end.outcome === 'rolled_back' ? rolledBack(debt, end, why) : end.failure,
  };
}

/** How an upgrade that was taken back is told. */
export function rolledBack(
  { stack, data }: Pick<UpgradeDebt, 'stack' | 'data'>,
  { recovered }: Pick<TakenBack, 'recovered'>,
  why: string,
): Failure {
  const health = recovered ? 'healthy' : 'but it is NOT healthy';
  const onData = data === 'snapshot' ? 'with its data as it was' : 'on the data as the new one left it: none was kept';
  return new Failure('rolled_back', {
    message: `${stack} runs its old version again, ${health}, ${onData}: ${why}`,
    hint: `This target is not tried again until: felhom-controller upgrade allow ${stack}`,
  });
}
