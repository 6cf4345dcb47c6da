import { type AgentApi, AgentError } from '@felhom/guest-api/agent-api.ts';
import type { JobPhase, JobStatus, ReportBody } from '@felhom/guest-api/schema.ts';
import { type Clock, systemClock } from '@felhom/kernel/clock.ts';

/** An agent in memory that plays one job: it opens the gate at once and proves the snapshot when told that the apps are down. */
export interface FakeAgent extends Pick<AgentApi, 'start' | 'status' | 'quiesced' | 'resumed' | 'cancel' | 'report'> {
  readonly calls: string[];
  readonly reports: ReportBody[];
  job(): JobStatus;
  /** Moves the job on, as the host would. */
  move(change: Partial<JobStatus>): void;
  /** What the next calls of a kind do instead of answering; as often as it is given. */
  fail(call: FakeCall, error: () => Error, times?: number): void;
}

export type FakeCall = 'start' | 'status' | 'quiesced' | 'resumed' | 'cancel' | 'report';

export interface FakeAgentOptions {
  /** Whose time the long polls take. Default: the system's. */
  clock?: Clock;
  /** Called when the guest says quiesced; moves the job on. Default: captured and proven at once, then done. */
  onQuiesced?: (agent: FakeAgent) => void | Promise<void>;
  phase?: JobPhase;
}

export function agentError(kind: AgentError['kind']): AgentError {
  return new AgentError(kind, { code: 'agent_unreachable', message: `fake: ${kind}`, hint: 'none' });
}

export function fakeAgent({
  clock = systemClock,
  onQuiesced = proveAtOnce,
  phase = 'ready',
}: FakeAgentOptions = {}): FakeAgent {
  const calls: string[] = [];
  const reports: ReportBody[] = [];
  const failures = new Map<FakeCall, { error: () => Error; times: number }>();
  const waiting = new Set<() => void>();
  let status: JobStatus = newJob(phase);
  const enter = (call: FakeCall): void => {
    calls.push(call);
    const failure = failures.get(call);
    if (failure === undefined || failure.times === 0) return;
    failure.times -= 1;
    throw failure.error();
  };
  const agent: FakeAgent = {
    calls,
    reports,
    job: () => status,
    move: (change) => {
      status = { ...status, ...change, seq: status.seq + 1 };
      for (const wake of [...waiting]) wake();
    },
    fail: (call, error, times = Number.POSITIVE_INFINITY) => void failures.set(call, { error, times }),
    start: async () => {
      enter('start');
      return { job_id: status.job_id, phase: status.phase };
    },
    status: async (_jobId, { after = -1, waitSeconds = 0, signal } = {}) => {
      enter('status');
      if (status.seq <= after && waitSeconds > 0) await changeOrEnd(waiting, clock, waitSeconds, signal);
      if (signal?.aborted === true) throw signal.reason;
      return status;
    },
    quiesced: async () => {
      enter('quiesced');
      if (status.phase !== 'ready') throw agentError('gone');
      agent.move({ phase: 'capturing', upid: 'UPID:fake' });
      void onQuiesced(agent);
      return { job_id: status.job_id, phase: status.phase };
    },
    resumed: async () => {
      enter('resumed');
      return { job_id: status.job_id, phase: status.phase };
    },
    cancel: async () => {
      enter('cancel');
      agent.move({ phase: 'cancelled' });
      return { job_id: status.job_id, phase: status.phase };
    },
    report: async (_jobId, body) => {
      enter('report');
      reports.push(body);
      return { accepted: reports.length === 1, grade: body.grade };
    },
  };
  return agent;
}

function proveAtOnce(agent: FakeAgent): void {
  agent.move({ phase: 'snapshotted', proof: 'pre-restart' });
  agent.move({ phase: 'done', volid: 'bk:backup/vzdump-lxc-101.tar.zst', size_bytes: 1 });
}

function newJob(phase: JobPhase): JobStatus {
  return {
    job_id: 'job-1',
    phase,
    seq: 1,
    origin: 'controller',
    mode: 'snapshot',
    gate: 'hook',
    storage: 'bk',
    storage_type: 'dir',
    progress: null,
    size_bytes: null,
    excluded: [],
    upid: null,
    volid: null,
    proof: null,
    degraded: null,
    error: null,
  };
}

async function changeOrEnd(
  waiting: Set<() => void>,
  clock: Clock,
  waitSeconds: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const changed = new AbortController();
  const wake = (): void => changed.abort();
  waiting.add(wake);
  await clock.sleep(
    waitSeconds * 1_000,
    signal === undefined ? changed.signal : AbortSignal.any([changed.signal, signal]),
  );
  waiting.delete(wake);
}
