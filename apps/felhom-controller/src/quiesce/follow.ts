import { Failure } from '@felhom/kernel/failure.ts';
import { interruptionFailure } from './interruption.ts';
import { isTerminal, type JobView, type JobWatch } from './job-watch.ts';
import type { RunResult } from './result.ts';
import type { Run } from './run.ts';

export interface FollowEnd {
  outcome: RunResult['outcome'];
  failure: Failure | null;
}

/** Follows the job, with the apps up, to its end or to the end of our patience. `early`: why they came back before the proof. */
export async function followJob(run: Run, watch: JobWatch, early: string | null): Promise<FollowEnd> {
  const { options, ports } = run;
  const { clock } = ports;
  const enough = new AbortController();
  const over = new AbortController();
  const beganMs = clock.monotonicMs();
  void clock.sleep(options.bounds.maxFollowMs, over.signal).then(() => enough.abort());
  const isSilent = ({ lastTrouble, heardAtMs }: JobView): boolean =>
    lastTrouble !== null && clock.monotonicMs() - Math.max(heardAtMs, beganMs) > options.bounds.agentSilenceMs;
  const signal = AbortSignal.any([options.stop, enough.signal]);
  const view = await watch.until((each) => each.lost !== null || isTerminal(each.status) || isSilent(each), signal);
  over.abort();
  return judgeFollow(run, view, early);
}

function judgeFollow(run: Run, view: JobView, early: string | null): FollowEnd {
  const id = run.jobId ?? '';
  const phase = view.status?.phase;
  if (phase === 'done') return { outcome: 'done', failure: null };
  if (phase === 'cancelled' && run.options.stop.aborted) {
    // Cancelled because we were asked to end: that is how we end, not as a backup that failed.
    const state = 'the backup was cancelled, nothing was captured; the apps are running';
    return { outcome: 'aborted', failure: interruptionFailure(run.options.stop, state) };
  }
  if (phase === 'failed' || phase === 'cancelled') {
    const error = view.status?.error;
    const why = early === null ? '' : `: ${early}`;
    const message = `${error?.message ?? `the backup was ${phase}${why}`}; the apps are running`;
    const failure = new Failure('backup_failed', {
      message,
      hint: error?.hint ?? 'Look at the job on the host: felhom-agent backup status',
    });
    return { outcome: phase === 'failed' ? 'failed' : 'aborted', failure };
  }
  if (run.options.stop.aborted) {
    const failure = interruptionFailure(
      run.options.stop,
      `the apps are running, and the backup ${id} goes on at the host`,
      `See how it ends: felhom-controller backup status. To end it, on the host: felhom-agent backup cancel ${id}`,
    );
    return { outcome: 'running', failure };
  }
  if (view.lost !== null) return { outcome: 'failed', failure: view.lost };
  return {
    outcome: 'failed',
    failure: new Failure('agent_unreachable', {
      message: `the agent does not say how the backup ${id} ended (${view.lastTrouble ?? 'it takes too long'}); the apps are running`,
      hint: 'Ask again later: felhom-controller backup status',
    }),
  };
}
