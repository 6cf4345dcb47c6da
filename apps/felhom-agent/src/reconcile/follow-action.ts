import { followTask } from '@felhom/proxmox/follow-task.ts';
import type { TaskEnd } from '@felhom/proxmox/tasks.ts';
import { isUpid } from '@felhom/proxmox/upid.ts';
import type { ActionOutcome } from './action-record.ts';
import type { ReconcileLimits, ReconcilePorts } from './ports.ts';

export type Followed =
  | { kind: 'ended'; outcome: ActionOutcome; reason: string | null; locked: boolean }
  /** It still runs, or we are to end: somebody looks at it later. */
  | { kind: 'left'; why: string };

/** Follows a task of ours to its end, at most `taskWaitMs`, and until `leaving` aborts. */
export async function followAction(
  { pve, clock }: Pick<ReconcilePorts, 'pve' | 'clock'>,
  upid: string,
  limits: Pick<ReconcileLimits, 'taskWaitMs' | 'taskPollMs'>,
  leaving: AbortSignal,
): Promise<Followed> {
  if (!isUpid(upid)) return { kind: 'ended', outcome: 'failed', reason: `${upid} is no task`, locked: false };
  const enough = new AbortController();
  const done = new AbortController();
  const timer = clock.sleep(limits.taskWaitMs, done.signal).then(() => enough.abort());
  const onLeaving = (): void => enough.abort();
  leaving.addEventListener('abort', onLeaving, { once: true });
  if (leaving.aborted) onLeaving();
  try {
    const end = await followTask({ tasks: pve.tasks, clock }, upid, {
      signal: enough.signal,
      pace: { fastMs: Math.min(100, limits.taskPollMs), fastForMs: 500, slowMs: limits.taskPollMs },
    });
    if (end.kind === 'aborted')
      return { kind: 'left', why: leaving.aborted ? 'we were asked to end' : 'its task takes long' };
    if (end.kind === 'no-such-task')
      return { kind: 'ended', outcome: 'failed', reason: 'Proxmox VE does not know its task any more', locked: false };
    return judgeEnd(end.end, end.reason);
  } finally {
    done.abort();
    leaving.removeEventListener('abort', onLeaving);
    await timer;
  }
}

/** What a task's end says. A lock or a guest that is gone is found by the task itself: nothing was done then. */
export function judgeEnd(end: TaskEnd, reason: string | null = null): Extract<Followed, { kind: 'ended' }> {
  if (end.kind === 'ok') return { kind: 'ended', outcome: 'done', reason: null, locked: false };
  const said = { kind: 'ended', reason: reason ?? end.reason } as const;
  if (end.fault.kind === 'locked' || end.fault.kind === 'lock-timeout')
    return { ...said, outcome: 'void', locked: true };
  const overtaken = ['already-running', 'not-running', 'not-found'].includes(end.fault.kind);
  return { ...said, outcome: overtaken ? 'superseded' : 'failed', locked: false };
}
