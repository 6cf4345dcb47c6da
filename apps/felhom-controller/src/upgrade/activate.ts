import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import type { HeldLock, StartedGuard } from '../quiesce/ports.ts';
import type { OwedContainer } from '../quiesce/result.ts';
import type { Checked } from './check.ts';
import type { UpgradeDebt } from './debt.ts';
import { goForward } from './forward.ts';
import { requireSinceKept } from './keep-since.ts';
import { holdImages, tidyPins } from './pins.ts';
import type { PreparedData, UpgradePorts } from './ports.ts';
import { promiseOf } from './promise.ts';
import { owe, type Transaction, type UpgradeSettings } from './run.ts';
import { rolledBack } from './settle-upgrade.ts';
import { takeBack } from './take-back.ts';
import { asItIsNow, underRunLock } from './under-lock.ts';
import { findWayBack, type WayBack } from './way-back.ts';
import { whenDockerAnswers } from './when-docker-answers.ts';

export interface ActivateRequest {
  rollbackAfter: number;
  stop: AbortSignal;
  warn: (text: string) => void;
}

export interface TakeBackRequest extends Omit<ActivateRequest, 'rollbackAfter'> {
  /** What was written since the upgrade is given up; otherwise it is kept as a snapshot. */
  discard: boolean;
}

export interface ActivateEnd {
  /** `kept`: it was to be taken back, there was no way back, and the new version stays. */
  outcome: 'success' | 'failed' | 'rolled_back' | 'kept' | 'owed' | 'left_to_boot';
  failure: Failure | null;
  owed: OwedContainer[];
  /** What runs in the end is as healthy as it was. */
  recovered: boolean;
}

/** From a staged target to its end. Holds the run lock from before the first look to after the last. @throws Failure `busy`. */
export async function activate(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  checked: Checked,
  request: ActivateRequest,
): Promise<ActivateEnd> {
  const { stack } = checked.look;
  const patienceMs = settings.quiesce.lockPatienceMs;
  return await underRunLock(ports, { stack, patienceMs, stop: request.stop }, async (lock, runId) => {
    const look = await asItIsNow(ports, checked.look);
    return await underLock(ports, settings, { ...checked, look }, { ...request, runId, lock });
  });
}

type UnderLock = ActivateRequest & { runId: string; lock: HeldLock };

async function underLock(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  checked: Checked,
  { runId, lock, rollbackAfter, stop, warn }: UnderLock,
): Promise<ActivateEnd> {
  const { clock } = ports;
  const engine = await ports.engine.identity();
  const data = checked.data.obstacles.length > 0 ? null : await ports.data.prepare(checked.plan.stack);
  const guard = await startGuard(ports, warn);
  const digests = await holdImages(ports, checked.look);
  const reserved = data === null ? [] : await ports.files.roomFor(checked.plan.stack, checked.data.folders);
  const nowMs = clock.nowMs();
  const debt = promiseOf({
    look: checked.look,
    plan: checked.plan,
    oldFiles: checked.oldFiles,
    runId,
    bootId: await ports.system.bootId(),
    engineId: engine.id,
    nowMs,
    deadlineMs: nowMs + settings.bounds.maxUpgradeMs,
    rollbackAfter,
    data: data === null ? 'none' : 'snapshot',
    reserved,
    digests,
  });
  const transaction: Transaction = { ports, settings, lock, debt, stop, warn };
  guard.arm(settings.bounds.maxUpgradeMs + settings.quiesce.hungHolderMs);
  try {
    await owe(transaction, {});
    // Room for the way back: what the new version fills is not ours to remove before.
    await ports.files.reserve(reserved, checked.data.restoreBytes + settings.bounds.minFreeBytes);
  } catch (error) {
    guard.disarm();
    await ports.files.release(reserved);
    await ports.debts.erase(); // Nothing was stopped, and nothing is owed.
    throw error;
  }
  const end = await carryThrough(transaction, data);
  if (end.outcome !== 'owed' && end.outcome !== 'left_to_boot') {
    guard.disarm();
    // A snapshot that was found damaged is not given the hashes of what it is now.
    await tidyUp(transaction, end.outcome === 'kept' ? null : transaction.debt.snapshot_id);
  }
  return end;
}

/** What may wait until the apps run: it is made good by the next upgrade where it fails. */
async function tidyUp({ ports, debt, warn }: Transaction, snapshot: string | null): Promise<void> {
  try {
    if (snapshot !== null) await ports.data.seal(debt.stack, snapshot);
    await tidyPins(ports, debt.stack);
  } catch (error) {
    warn(`not everything could be tidied up: ${asFailure(error).message}`);
  }
}

/** Forward; where that throws, back, by the code that every recovery runs. */
async function carryThrough(transaction: Transaction, data: PreparedData | null): Promise<ActivateEnd> {
  try {
    await goForward(transaction, data);
    return { outcome: 'success', failure: null, owed: [], recovered: true };
  } catch (error) {
    const failure = asFailure(error);
    if (await isLeftToBoot(transaction)) return leftToBoot(transaction);
    transaction.warn(failure.message);
    return await back(transaction, failure);
  }
}

/**
 * A version is taken back whose debt was settled long ago: it is owed again, and then the same code runs. `begin` is called
 * once there is a way back. @throws Failure where there is none; nothing was stopped.
 */
export async function takeBackUnderLock(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  previous: UpgradeDebt,
  { stop, warn, discard, begin }: TakeBackRequest & { begin: () => Promise<void> },
): Promise<ActivateEnd & { sinceId: string | null }> {
  const patienceMs = settings.quiesce.lockPatienceMs;
  return await underRunLock(ports, { stack: previous.stack, patienceMs, stop }, async (lock, runId) => {
    const debt = {
      ...previous,
      run_id: runId,
      reason: 'a person took it back',
      asked: 'back' as const,
      keep_since: !discard,
      since_id: null,
      data_restored: false,
      old_made: false,
      written_at_ms: ports.clock.nowMs(),
    };
    const transaction: Transaction = { ports, settings, lock, debt, stop, warn };
    const wayBack = await findWayBack(transaction);
    if (wayBack.kind === 'lost') throw noWayBack(debt.stack, wayBack.failure);
    await requireSinceKept(transaction);
    await begin();
    const guard = await startGuard(ports, warn);
    guard.arm(settings.bounds.maxUpgradeMs + settings.quiesce.hungHolderMs);
    await owe(transaction, {});
    const end = await back(transaction, new Failure('rolled_back', { message: debt.reason, hint: '' }), wayBack);
    const sinceId = transaction.debt.since_id;
    if (end.outcome !== 'owed') {
      guard.disarm();
      await tidyUp(transaction, sinceId);
    }
    return { ...end, sinceId };
  });
}

function noWayBack(stack: string, lost: Failure): Failure {
  return new Failure(lost.code, {
    message: `${stack} cannot be taken back: ${lost.message}; nothing was stopped`,
    hint: lost.hint,
    cause: lost,
  });
}

async function back(transaction: Transaction, cause: Failure, wayBack?: WayBack): Promise<ActivateEnd> {
  const { stack } = transaction.debt;
  const told = cause.code === 'interrupted' || cause.code === 'terminated';
  // Written with the next step of the debt.
  if (told) transaction.debt = { ...transaction.debt, asked: 'ended' };
  try {
    const end = await whenDockerAnswers(transaction, async () => takeBack(transaction, cause.message, wayBack));
    if (end.outcome === 'owed')
      return { outcome: 'owed', failure: down(stack, end.owed), owed: end.owed, recovered: false };
    if (end.outcome === 'kept') {
      const shown = told && end.failure !== null ? interrupted(cause, end.failure.message) : end.failure;
      return { outcome: 'kept', failure: shown, owed: end.owed, recovered: false };
    }
    if (end.outcome === 'rolled_back') {
      const failure = rolledBack(transaction.debt, end, cause.message);
      const shown = told ? interrupted(cause, failure.message) : failure;
      return { outcome: 'rolled_back', owed: [], failure: shown, recovered: end.recovered };
    }
    const words = `${stack} was not upgraded and runs its old version: ${cause.message}`;
    const failure = new Failure('upgrade_failed', { message: words, hint: cause.hint, cause });
    return { outcome: 'failed', owed: [], failure: told ? interrupted(cause, words) : failure, recovered: true };
  } catch (error) {
    const owed = [{ stack, container: stack, why: asFailure(error).message }];
    return { outcome: 'owed', failure: down(stack, owed), owed, recovered: false };
  }
}

function interrupted(cause: Failure, message: string): Failure {
  return new Failure(cause.code, { message, hint: cause.hint });
}

function down(stack: string, owed: readonly OwedContainer[]): Failure {
  return new Failure('apps_down', {
    message: `${stack} is DOWN between two versions: ${owed.map(({ container, why }) => `${container} (${why})`).join('; ')}`,
    hint: 'Recovery is tried again every minute, or now: felhom-controller recover',
  });
}

/** In a dying guest nothing is rolled back: what stands there is settled at the next boot. */
async function isLeftToBoot({ ports }: Transaction): Promise<boolean> {
  return await ports.system.isStopping().catch(() => false); // Nobody could say: it lives on.
}

function leftToBoot({ debt }: Transaction): ActivateEnd {
  const failure = new Failure('terminated', {
    message: `the guest is shutting down: the upgrade of ${debt.stack} is settled at the next boot`,
    hint: 'Nothing to do: felhom-controller recover runs at boot.',
  });
  return { outcome: 'left_to_boot', failure, owed: [], recovered: false };
}

async function startGuard({ guard }: UpgradePorts, warn: (text: string) => void): Promise<StartedGuard> {
  try {
    return await guard.start();
  } catch (error) {
    warn(`no guard could be started (${asFailure(error).message}): if this process dies, the recovery timer goes on`);
    return { arm: () => undefined, disarm: () => undefined };
  }
}
