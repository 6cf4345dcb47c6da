import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { interruptionFailure } from '../quiesce/interruption.ts';
import { type Checked, checkStack, refuseWhereClosed } from './check.ts';
import type { UpgradeNotes } from './memory.ts';
import type { UpgradePorts } from './ports.ts';
import type { UpgradeSettings } from './run.ts';

export interface StageRequest {
  stack: string;
  force: boolean;
  /** Ask registries for newer images. */
  askRegistry: boolean;
  stop: AbortSignal;
}

/**
 * Checks and fetches: afterwards everything of the new version is on this machine, and nothing has stopped. Null: there
 * is nothing to upgrade. The caller has the turn. @throws Failure of every gate, `image_unavailable`.
 */
export async function stage(
  ports: UpgradePorts,
  settings: UpgradeSettings,
  request: StageRequest,
): Promise<Checked | null> {
  const { stack } = request;
  const checked = await checkStack(ports, settings, stack, request);
  if (checked.plan.changes.length === 0) {
    requireAnswers(checked);
    return null;
  }
  const machine = ports.machine(stack);
  await endStale(ports, stack);
  const before = await machine.read();
  const notes = notesOf(checked, ports.system.newRunId(), before?.data.last_success_at ?? null);
  await machine.begin(checked.plan.target.key, notes);
  await machine.stepFrom('idle', 'checking');
  try {
    refuseWhereClosed(checked, settings);
    const { download } = checked.plan;
    if (download.length > 0) await machine.stepFrom('checking', 'downloading');
    for (const reference of download) {
      ports.progress({ kind: 'note', text: `fetching ${reference}` });
      await ports.engine.pull(reference, { boundMs: settings.bounds.pullMs, signal: request.stop });
    }
    const fetched =
      download.length === 0 ? checked : await checkStack(ports, settings, stack, { ...request, askRegistry: false });
    refuseWhereClosed(fetched, settings);
    endIfStopped(request.stop, stack);
    await machine.step('staged', { data: { ...notes, gates: fetched.gates } });
    return fetched;
  } catch (error) {
    await machine.step('failed', { lastError: asFailure(error).message });
    throw error;
  }
}

/** That there is nothing newer is known only where every registry has answered. */
function requireAnswers({ plan: { stack, unknown } }: Checked): void {
  const [first] = unknown;
  if (first === undefined) return;
  throw new Failure('image_unavailable', {
    message: `whether there is something newer for ${stack} is not known: ${unknown.map(({ why }) => why).join('; ')}`,
    hint: `${first.hint} Without asking a registry: --no-pull`,
  });
}

function endIfStopped(stop: AbortSignal, stack: string): void {
  if (!stop.aborted) return;
  throw interruptionFailure(stop, 'nothing was stopped', `Start again: felhom-controller upgrade apply ${stack}`);
}

/** An attempt that a dead command left before activation has ended: nothing is owed, or recovery would have settled it. */
export async function endStale(ports: UpgradePorts, stack: string): Promise<void> {
  const machine = ports.machine(stack);
  const now = await machine.read();
  if (now === null) return;
  if (now.phase === 'checking' || now.phase === 'downloading' || now.phase === 'staged') {
    await machine.step('failed', { lastError: now.lastError ?? 'it was not carried on' });
  }
  if (now.phase !== 'activated' && now.phase !== 'verifying') return;
  throw new Failure('busy', {
    message: `the last upgrade of ${stack} waits for a person: ${now.lastError ?? now.phase}; nothing was stopped`,
    hint: `Take it back: felhom-controller upgrade rollback ${stack}; or keep it: felhom-controller upgrade healthcheck ${stack}`,
  });
}

function notesOf(checked: Checked, runId: string, lastSuccessAt: string | null): UpgradeNotes {
  const { plan, gates, data } = checked;
  return {
    run_id: runId,
    changes: plan.changes.map(({ service, kind, from, to }) => ({
      service,
      kind,
      from: from === null ? null : `${from.ref} ${from.id ?? ''}`.trim(),
      to: to === null ? null : `${to.ref} ${to.id ?? ''}`.trim(),
    })),
    gates,
    rungs: [],
    snapshot_id: null,
    not_rolled_back: data.leftOut,
    downtime_ms: null,
    last_success_at: lastSuccessAt,
    waits_for_person: false,
  };
}
