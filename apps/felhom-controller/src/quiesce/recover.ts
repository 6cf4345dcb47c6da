import { asFailure, Failure, worstExit } from '@felhom/kernel/failure.ts';
import type { QuiesceBounds } from './bounds.ts';
import { closeDeadRuns } from './dead-runs.ts';
import { type Marker, stackOf } from './marker.ts';
import type { HeldLock, MarkerRead, RecoverPorts, RunHolder } from './ports.ts';
import type { OwedContainer } from './result.ts';
import { words } from './run.ts';
import { type SettleEnd, settleMarker } from './settle.ts';

/*
 * Invariants
 * - Safe at any time, by anyone: a live holder within its deadline is left alone, everything else happens under the run lock.
 * - A holder is ended by pid and start time, never by pid alone; the flock alone says held.
 * - Twice equals once: what runs with a new start is paid already.
 */

export interface RecoverOptions {
  bounds: QuiesceBounds;
  /** Drops the debts of this stack unpaid. */
  forgive: string | null;
  stop: AbortSignal;
}

export interface RecoverEnd {
  /** `nothing`: no debt. `held`: a live run is within its deadline and looks after its own. `left_to_boot`: the guest is shutting down. */
  outcome: 'nothing' | 'held' | 'left_to_boot' | 'settled' | 'owed' | 'failed';
  started: string[];
  forgiven: string[];
  owed: OwedContainer[];
  warnings: string[];
  exit: number;
  failure: Failure | null;
}

/** Settles whatever a dead run left behind. Safe at any time; twice equals once. */
export async function recover(ports: RecoverPorts, options: RecoverOptions): Promise<RecoverEnd> {
  const warnings: string[] = [];
  const warn = (text: string): void => {
    warnings.push(text);
    ports.progress({ kind: 'warning', text });
  };
  const end = (outcome: RecoverEnd['outcome'], failure: Failure | null = null): RecoverEnd => ({
    outcome,
    started: [],
    forgiven: [],
    owed: [],
    warnings,
    exit: failure?.exit ?? 0,
    failure,
  });
  if (await isStopping(ports)) return end('left_to_boot');
  const lock = await takeLock(ports, options, warn);
  if (lock === 'held') return end('held');
  if (lock instanceof Failure) return end('failed', lock);
  try {
    return await underLock(ports, lock, options, { warnings, warn });
  } catch (error) {
    return end('failed', await asRecoverFailure(ports, error));
  } finally {
    await lock.release();
  }
}

async function underLock(
  ports: RecoverPorts,
  lock: HeldLock,
  options: RecoverOptions,
  said: { warnings: string[]; warn: (text: string) => void },
): Promise<RecoverEnd> {
  const first = await ports.markers.read();
  const { read, forgiven } = await forgive(ports, first, options.forgive);
  const settled = await settleWhenDockerAnswers(ports, lock, read, options, said.warn);
  await closeDeadRuns(ports, settled.owed, said.warn);
  const failures = [
    ...(settled.owed.length === 0 ? [] : [appsDown(settled.owed)]),
    ...(settled.failure === null ? [] : [settled.failure]),
  ];
  const exit = worstExit(failures.map((failure) => failure.exit));
  return {
    outcome: settled.owed.length > 0 ? 'owed' : first.kind === 'absent' ? 'nothing' : 'settled',
    started: settled.started,
    forgiven,
    owed: settled.owed,
    warnings: said.warnings,
    exit,
    failure: failures.find((failure) => failure.exit === exit) ?? null,
  };
}

/** While docker does not answer there is nothing to be done but to wait for it, with backoff and a bound. */
async function settleWhenDockerAnswers(
  ports: RecoverPorts,
  lock: HeldLock,
  read: MarkerRead,
  { bounds, stop }: RecoverOptions,
  warn: (text: string) => void,
): Promise<SettleEnd> {
  const { clock } = ports;
  const endMs = clock.monotonicMs() + bounds.payRetryMs;
  for (let pauseMs = bounds.payBackoffMs; ; pauseMs = Math.min(pauseMs * 2, bounds.payBackoffLimitMs)) {
    try {
      if (read.kind !== 'absent') await ports.engine.identity();
      return await settleMarker(ports, read, { bounds, inheritFds: lock.inheritFds, warn });
    } catch (error) {
      const isWorthWaiting = error instanceof Failure && error.code === 'docker_unreachable' && !stop.aborted;
      if (!isWorthWaiting || clock.monotonicMs() + pauseMs > endMs) throw error;
      await clock.sleep(pauseMs, stop);
    }
  }
}

async function forgive(
  ports: RecoverPorts,
  read: MarkerRead,
  stack: string | null,
): Promise<{ read: MarkerRead; forgiven: string[] }> {
  if (stack === null || read.kind !== 'present') return { read, forgiven: [] };
  const dropped = read.value.debts.filter((debt) => stackOf(debt) === stack);
  const commands = read.value.after_start.filter((command) => command.stack === stack);
  if (dropped.length + commands.length === 0) {
    throw new Failure('not_found', {
      message: `nothing is owed to a stack called ${stack}`,
      hint: `Owed are: ${[...new Set(read.value.debts.map(stackOf))].join(', ')}. Try: felhom-controller recover --forgive NAME`,
    });
  }
  const value: Marker = {
    ...read.value,
    debts: read.value.debts.filter((debt) => !dropped.includes(debt)),
    after_start: read.value.after_start.filter((command) => !commands.includes(command)),
  };
  await ports.markers.write(value);
  return { read: { kind: 'present', value }, forgiven: dropped.map(({ name }) => name) };
}

const lookAgainMs = 200;

/** The lock, or why there is none to have: a live run looks after its own, a hung one is ended. */
async function takeLock(
  ports: RecoverPorts,
  { bounds, stop }: RecoverOptions,
  warn: (text: string) => void,
): Promise<HeldLock | 'held' | Failure> {
  const { lock, clock } = ports;
  const beganMs = clock.monotonicMs();
  let childrenSinceMs: number | null = null;
  let dockerPauseMs = bounds.payBackoffMs;
  for (;;) {
    try {
      const answer = await lock.acquire('recover', null);
      if (answer.kind === 'held') return answer.lock;
      if (stop.aborted) return 'held';
      const { holder } = answer;
      if (holder !== null && (await lock.isAlive(holder))) {
        if (!(await isHung(ports, holder, bounds))) return 'held';
        warn(`the run of process ${holder.pid} hangs past its deadline and is ended`);
        await lock.endHolder(holder);
      } else {
        // The holder is dead, or has not said yet who it is; what keeps the lock are its children.
        childrenSinceMs ??= clock.monotonicMs();
        const limitMs =
          holder?.deadlineMs == null
            ? bounds.hungHolderMs
            : Math.max(0, holder.deadlineMs - clock.nowMs()) + bounds.hungHolderMs;
        if (clock.monotonicMs() - childrenSinceMs >= Math.min(limitMs, bounds.maxQuiesceMs + bounds.hungHolderMs)) {
          warn('programs that a dead run has left behind are ended');
          await lock.endChildren();
          childrenSinceMs = null;
        }
      }
      await clock.sleep(lookAgainMs, stop);
    } catch (error) {
      const failure = await asRecoverFailure(ports, error);
      const isWorthWaiting = error instanceof Failure && error.code === 'docker_unreachable' && !stop.aborted;
      if (!isWorthWaiting || clock.monotonicMs() - beganMs > bounds.payRetryMs) return failure;
      await clock.sleep(dockerPauseMs, stop);
      dockerPauseMs = Math.min(dockerPauseMs * 2, bounds.payBackoffLimitMs);
    }
  }
}

/** Past its deadline and the grace on top, with apps still owed. Without a deadline nothing is down. */
async function isHung({ clock, markers }: RecoverPorts, holder: RunHolder, bounds: QuiesceBounds): Promise<boolean> {
  if (holder.deadlineMs === null || clock.nowMs() < holder.deadlineMs + bounds.hungHolderMs) return false;
  return (await markers.read()).kind !== 'absent';
}

async function isStopping({ system }: RecoverPorts): Promise<boolean> {
  try {
    return await system.isStopping();
  } catch {
    // Nobody could say: then the debts are settled, which is right in a guest that lives on.
    return false;
  }
}

/** With a debt on disk, a docker that does not answer means that apps are down. */
async function asRecoverFailure({ markers }: RecoverPorts, error: unknown): Promise<Failure> {
  const failure = asFailure(error);
  if (failure.code !== 'docker_unreachable') return failure;
  const read = await markers.read().catch(() => null);
  if (read?.kind === 'absent') return failure;
  return new Failure('apps_down', {
    message: `apps are DOWN and cannot be started: ${words(error)}`,
    hint: 'Bring docker back (systemctl status docker); recovery is tried again every minute, or now: felhom-controller recover',
    cause: error,
  });
}

function appsDown(owed: readonly OwedContainer[]): Failure {
  const names = owed.map(({ stack, container }) => `${stack}/${container}`).join(', ');
  return new Failure('apps_down', {
    message: `apps are DOWN and could not be brought back: ${names} (${[...new Set(owed.map(({ why }) => why))].join('; ')})`,
    hint: `Bring them up by hand (docker start NAME) and run felhom-controller recover again, or give them up: felhom-controller recover --forgive ${owed[0]?.stack ?? 'STACK'}`,
  });
}
