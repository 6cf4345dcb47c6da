import { AgentError } from '@felhom/guest-api/agent-api.ts';
import type { AppsDown } from './apps-down.ts';
import { isTerminal, type JobView, type JobWatch } from './job-watch.ts';
import { type Run, words } from './run.ts';

/** How the time with the apps down came to its end. */
export interface CaptureEnd {
  /** The snapshot is proven to have been made while the apps were down. */
  proven: boolean;
  /** Why the apps come back without a proof; null where there is one. */
  early: string | null;
  /** The host's job has no point any more. */
  cancelJob: boolean;
  /** What ran at the proof, by id and name; null: nobody could look. */
  runningAtProof: { id: string; name: string }[] | null;
  eventsBroken: string | null;
}

/** Tells the host that the apps are down and waits for the proof, or for whatever ends the waiting. */
export async function capture(run: Run, watch: JobWatch, down: AppsDown, deadline: AbortSignal): Promise<CaptureEnd> {
  const end = (early: string, cancelJob = false): CaptureEnd => ({
    proven: false,
    early,
    cancelJob,
    runningAtProof: null,
    eventsBroken: eventsTrouble(down),
  });
  const ends = AbortSignal.any([deadline, run.options.stop]);
  if (down.halted) return end(whyHalted(run, watch.view(), deadline), run.options.stop.aborted);
  const refused = await sayQuiesced(run, watch, ends);
  if (refused !== null) return end(refused);
  const noTask = new AbortController();
  const accepted = new AbortController();
  void run.ports.clock.sleep(run.options.bounds.noTaskMs, accepted.signal).then(() => {
    if (!accepted.signal.aborted && !hasTask(watch.view())) noTask.abort();
  });
  const found = await watch.until(isDecided, AbortSignal.any([ends, noTask.signal]));
  accepted.abort();
  // A thawed guest's clock has jumped past deadlines that nobody missed: one more poll before believing it.
  const view =
    isDecided(found) || run.options.stop.aborted ? found : await watch.pollOnce(run.options.bounds.lastPollMs);
  if (isProven(view)) return proven(run, down);
  if (run.options.stop.aborted) return end('the run was asked to end');
  if (view.lost !== null) return end(`the agent gave the job up: ${view.lost.message}`);
  if (isTerminal(view.status))
    return end(view.status?.error?.message ?? `the job ended as ${view.status?.phase ?? 'unknown'}`);
  if (noTask.signal.aborted) return end('the host started no task', true);
  return end(`no proof within ${Math.round(run.options.bounds.maxQuiesceMs / 1_000)} s${trouble(view)}`);
}

function trouble(view: JobView): string {
  return view.lastTrouble === null ? '' : ` (${view.lastTrouble})`;
}

function whyHalted(run: Run, view: JobView, deadline: AbortSignal): string {
  if (run.options.stop.aborted) return 'the run was asked to end';
  if (view.lost !== null) return `the agent gave the job up: ${view.lost.message}`;
  if (deadline.aborted) return `the apps were not down within ${Math.round(run.options.bounds.maxQuiesceMs / 1_000)} s`;
  return view.status?.degraded ?? view.status?.error?.message ?? 'the gate closed before the apps were down';
}

/** Null: accepted. A lost answer is asked for again: the call is idempotent. */
async function sayQuiesced(run: Run, watch: JobWatch, ends: AbortSignal): Promise<string | null> {
  const jobId = run.jobId ?? '';
  for (;;) {
    try {
      await run.ports.agent.quiesced(jobId, { signal: ends });
      run.mark('quiesced');
      return null;
    } catch (error) {
      if (ends.aborted)
        return run.options.stop.aborted ? 'the run was asked to end' : 'the agent could not be told in time';
      if (!(error instanceof AgentError) || !error.outcomeUnknown) return words(error);
      const view = watch.view();
      // The answer was lost and not the request: the job has moved on.
      if (isDecided(view) || view.status?.phase === 'capturing') return view.lost?.message ?? null;
      await run.ports.clock.sleep(run.options.bounds.pollRetryMs, ends);
    }
  }
}

async function proven(run: Run, down: AppsDown): Promise<CaptureEnd> {
  run.mark('snapshotted');
  const eventsBroken = eventsTrouble(down);
  const running = await run.ports.engine.listRunning(run.options.bounds.proofLookMs).catch(() => null);
  return { proven: true, early: null, cancelJob: false, runningAtProof: running, eventsBroken };
}

function eventsTrouble({ events, eventsTrouble }: AppsDown): string | null {
  return events === null ? (eventsTrouble ?? 'there was no event stream') : events.broken();
}

function isDecided(view: JobView): boolean {
  return view.lost !== null || isProven(view) || isTerminal(view.status);
}

/** In stop mode of a container the end of the task is the proof. */
function isProven({ status }: JobView): boolean {
  return status?.phase === 'snapshotted' || status?.phase === 'done';
}

function hasTask({ status }: JobView): boolean {
  return status !== null && (status.upid !== null || status.phase === 'snapshotted' || isTerminal(status));
}
