import { concludeRun, nothing } from './conclude.ts';
import type { BackupEnd } from './end.ts';
import { finish } from './finish.ts';
import { openGate } from './gate.ts';
import type { BackupOptions } from './options.ts';
import type { RunPorts, StartedGuard } from './ports.ts';
import { quiesced } from './quiesced.ts';
import type { RunResult } from './result.ts';
import { newRun, noteBegin, openRunOf, type Run, words } from './run.ts';
import { settleEarlier } from './settle.ts';
import { asRecoverFailure } from './take-lock.ts';
import { takeRunLock } from './take-run-lock.ts';

/*
 * Invariants
 * - Nothing is stopped before this run itself saw `ready`, and not before the marker is durable.
 * - The run lock is held from before the first look until after the report.
 */

export type { BackupEnd } from './end.ts';
export type { BackupOptions } from './options.ts';

/** One backup run. What happens to the run is in its end; thrown is only what comes before there is a run (`busy`, docker absent). */
export async function runBackup(ports: RunPorts, options: BackupOptions): Promise<BackupEnd> {
  const id = ports.system.newRunId();
  const bootId = await ports.system.bootId();
  const { bounds, stop } = options;
  const lock = await takeRunLock(ports, { what: 'backup', runId: id, patienceMs: bounds.lockPatienceMs, stop });
  try {
    const run = newRun(ports, options, { id, bootId, lock });
    await noteBegin(run);
    const end = await underLock(run);
    await noteEnd(run, end.result);
    return end;
  } finally {
    await lock.release();
  }
}

async function underLock(run: Run): Promise<BackupEnd> {
  try {
    const engine = await run.ports.engine.identity();
    const ownContainerId = await run.ports.system.ownContainerId();
    const guard = await startGuard(run);
    const owed = await settleEarlier(run);
    const gate = await openGate(run);
    if (gate.kind === 'not_due') {
      guard.disarm();
      run.mark('not_due');
      run.ports.progress({ kind: 'note', text: gate.why });
      return concludeRun(run, { ...nothing, outcome: 'not_due', failures: [] });
    }
    if (gate.kind === 'over') {
      guard.disarm();
      return concludeRun(run, {
        ...nothing,
        outcome: gate.stop.outcome,
        failures: [gate.stop.failure],
        status: gate.watch?.view().status ?? null,
      });
    }
    try {
      if (gate.kind === 'passed') {
        guard.disarm();
        return await finish(run, gate.watch, { ...nothing, grade: 'crash-consistent', gradeReason: gate.why });
      }
      run.mark('ready');
      return await quiesced(run, gate.watch, { guard, owed, ownContainerId, engineId: engine.id });
    } finally {
      gate.watch.end();
    }
  } catch (error) {
    return concludeRun(run, { ...nothing, outcome: 'aborted', failures: [await asRecoverFailure(run.ports, error)] });
  }
}

async function noteEnd(run: Run, result: RunResult): Promise<void> {
  try {
    await run.ports.history.end(openRunOf(run), result);
  } catch (error) {
    run.warn(`the run could not be written to the history: ${words(error)}`);
  }
}

async function startGuard(run: Run): Promise<StartedGuard> {
  try {
    return await run.ports.guard.start();
  } catch (error) {
    run.warn(
      `no guard could be started (${words(error)}): if this process dies, the recovery timer brings the apps back`,
    );
    return { arm: () => undefined, disarm: () => undefined };
  }
}
