import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import type { QuiesceBounds } from './bounds.ts';
import { otherDebtsOwed } from './other-debts.ts';
import type { HeldLock, LockAnswer, MarkerRead, RecoverPorts, RunHolder } from './ports.ts';
import { words } from './run.ts';

/*
 * Invariants
 * - The flock alone says held. Pid and start time serve only to end a holder that hangs.
 * - A holder is ended only past its deadline and the grace on top, and only while a marker says that apps are owed.
 */

export interface TakeLockOptions {
  bounds: QuiesceBounds;
  stop: AbortSignal;
}

const lookAgainMs = 50;

/** The lock for a recovery, or why there is none to have: a live run looks after its own, a hung one is ended. */
export async function takeLock(
  ports: RecoverPorts,
  { bounds, stop }: TakeLockOptions,
  warn: (text: string) => void,
): Promise<HeldLock | 'held' | Failure> {
  const { lock, clock } = ports;
  const endMs = clock.monotonicMs() + bounds.payRetryMs;
  const sinceMs = clock.nowMs();
  let dockerPauseMs = bounds.payBackoffMs;
  let told = false;
  for (;;) {
    try {
      const answer = await lock.acquire('recover', null);
      if (answer.kind === 'held') return await heldFor(ports, answer.lock, bounds);
      if (stop.aborted || !(await isToBeEnded(ports, answer, { bounds, sinceMs, warn }))) return 'held';
      await clock.sleep(lookAgainMs, stop);
    } catch (error) {
      const isWorthWaiting = error instanceof Failure && error.code === 'docker_unreachable' && !stop.aborted;
      if (!isWorthWaiting || clock.monotonicMs() > endMs || (await owesNothing(ports)))
        return await asRecoverFailure(ports, error);
      if (!told) warn(`${error.message}; apps are owed a start, so it is waited for`);
      told = true;
      await clock.sleep(dockerPauseMs, stop);
      dockerPauseMs = Math.min(dockerPauseMs * 2, bounds.payBackoffLimitMs);
    }
  }
}

/** A recovery may hang like any other process: it says until when it means to be done. */
async function heldFor({ clock }: RecoverPorts, lock: HeldLock, bounds: QuiesceBounds): Promise<HeldLock> {
  await lock.update({ runId: null, deadlineMs: clock.nowMs() + bounds.maxQuiesceMs + bounds.payRetryMs });
  return lock;
}

/** False: leave it alone. True: look again soon; whoever hangs past its time has been ended. */
async function isToBeEnded(
  ports: RecoverPorts,
  { holder }: Extract<LockAnswer, { kind: 'busy' }>,
  { bounds, sinceMs, warn }: { bounds: QuiesceBounds; sinceMs: number; warn: (text: string) => void },
): Promise<boolean> {
  const { clock, lock, markers } = ports;
  const read = await markers.read();
  const others = await otherDebtsOwed(ports);
  // Nothing is owed: whoever holds the lock, and however long, keeps nobody's app down.
  if (read.kind === 'absent' && others.length === 0) return false;
  const isLive = holder !== null && (await lock.isAlive(holder));
  // By its own word it has nothing down: the marker is one that it could not erase.
  if (isLive && holder.deadlineMs === null) return false;
  const latestMs = Math.max(...others.map((each) => each.deadlineMs), deadlineMs(holder, read, sinceMs));
  if (clock.nowMs() < latestMs + bounds.hungHolderMs) {
    // A dead holder's children are waited for, until the same moment.
    return !isLive && holder !== null;
  }
  if (isLive) {
    warn(`the run of process ${holder.pid} hangs past its deadline and is ended`);
    await lock.endHolder(holder);
  } else {
    warn('programs that a dead run has left behind are ended');
    await lock.endChildren();
  }
  return true;
}

/** By when the holder meant to be done. What nobody says counts as `sinceMs`, when it was met: then it has the grace, once. */
function deadlineMs(holder: RunHolder | null, read: MarkerRead, sinceMs: number): number {
  if (holder?.deadlineMs != null) return holder.deadlineMs;
  if (read.kind === 'present') return read.value.deadline_at_ms;
  if (read.kind === 'absent') return 0; // Another debt says until when.
  return read.kind === 'unreadable' ? read.mtimeMs : sinceMs;
}

/** With a debt on disk, a docker that does not answer means that apps are down. */
export async function asRecoverFailure(ports: RecoverPorts, error: unknown): Promise<Failure> {
  const failure = asFailure(error);
  if (failure.code !== 'docker_unreachable') return failure;
  if (await owesNothing(ports)) {
    const message = `${failure.message}; nothing is owed: no run has left an app down`;
    return new Failure('docker_unreachable', { message, hint: failure.hint, cause: error });
  }
  return new Failure('apps_down', {
    message: `apps are DOWN and cannot be started: ${words(error)}`,
    hint: 'Bring docker back (systemctl status docker); recovery is tried again every minute, or now: felhom-controller recover',
    cause: error,
  });
}

/** Seen to be so: where nobody could say, the worst is assumed. */
async function owesNothing(ports: RecoverPorts): Promise<boolean> {
  const read = await ports.markers.read().catch(() => null);
  const others = await otherDebtsOwed(ports).catch(() => null);
  return read?.kind === 'absent' && others?.length === 0;
}
