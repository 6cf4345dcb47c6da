import { Failure, type FailureCode } from '@felhom/kernel/failure.ts';
import type {
  CancelAnswer,
  DueAnswer,
  JobPhase,
  JobStatus,
  QuiescedAnswer,
  ReportAnswer,
  ReportBody,
  RestoreTestAnswer,
  ResumedAnswer,
  StartAnswer,
  StartBody,
} from './schema.ts';

/** What every call takes: `signal` ends the waiting, never what the agent does. */
export interface CallOptions {
  signal?: AbortSignal;
}

export interface LongPollOptions extends CallOptions {
  /** How long the agent may keep the answer back, 60 s at most. 0: it answers at once. */
  waitSeconds?: number;
}

/**
 * The agent as a guest sees it. Every call is bounded in time, may be repeated, and throws an
 * `AgentError`, or the signal's reason when that aborted it. Simulations stand in for it.
 */
export interface AgentApi {
  /** Is a backup of this guest due? Answers early when a gate opens or an operator asks. */
  due(options?: LongPollOptions): Promise<DueAnswer>;
  /**
   * Asks for a backup. The same key starts nothing twice. 409: kind `busy`, with the job in the way. With `onlyIfDue` the
   * agent looks once more whether one is due; kind `not_due`: another backup was made since it said so.
   */
  start(body: StartBody, options: CallOptions & { idempotencyKey: string; onlyIfDue?: boolean }): Promise<StartAnswer>;
  /** The apps are down. 410: kind `gone`, the gate closed before. */
  quiesced(jobId: string, options?: CallOptions): Promise<QuiescedAnswer>;
  /** The apps run again: the host may write its archive now. An agent that does not know the call answers `not_found`. */
  resumed(jobId: string, options?: CallOptions): Promise<ResumedAnswer>;
  /** Cancels the job; `force` also where apps may be down for it. */
  cancel(jobId: string, options?: CallOptions & { force?: boolean }): Promise<CancelAnswer>;
  /** The job; waits for a `seq` greater than `after`. A poll claims an open gate and renews its lease. */
  status(jobId: string, options?: LongPollOptions & { after?: number }): Promise<JobStatus>;
  /** What the apps did. The first report of a job wins. */
  report(jobId: string, body: ReportBody, options?: CallOptions): Promise<ReportAnswer>;
  restoreTest(options?: CallOptions): Promise<RestoreTestAnswer>;
  /** Closes idle connections. */
  close(): Promise<void>;
}

/**
 * - `unreachable`: no answer; whether the request had an effect is unknown. `misbehaves`: an answer
 *   that no agent gives (HTML, too long, another shape); unknown as well.
 * - `identity`: another certificate than the pinned one; not a byte was sent.
 * - `refused`: 401 or 403. `restored_copy`, `identity_conflict`: the 409s of a guest that is not the one.
 * - `not_due`: 409 where only a backup that is due was asked for; nothing was started, nothing is wrong.
 * - `busy`: 409 with the `job` in the way. `gone`: 410. `not_found`: 404. `moved`: 421, see `node`.
 * - `rejected`: any other 4xx. `failed`: 5xx with a reason; nothing was started.
 */
export type AgentErrorKind =
  | 'unreachable'
  | 'misbehaves'
  | 'identity'
  | 'refused'
  | 'restored_copy'
  | 'identity_conflict'
  | 'not_due'
  | 'busy'
  | 'gone'
  | 'not_found'
  | 'moved'
  | 'rejected'
  | 'failed';

export interface AgentErrorDetails {
  code: FailureCode;
  message: string;
  hint: string;
  /** HTTP status, where there was one. */
  status?: number | undefined;
  /** The word the agent gave (`busy`, `gate_closed`, …). */
  agentCode?: string | undefined;
  job?: { job_id: string; phase: JobPhase; claimed: boolean } | undefined;
  node?: string | undefined;
  cause?: unknown;
}

/** How a call of `AgentApi` fails. It is a Failure: uncaught, it ends a command with its words and exit code. */
export class AgentError extends Failure {
  readonly kind: AgentErrorKind;
  readonly status: number | undefined;
  readonly agentCode: string | undefined;
  readonly job: { job_id: string; phase: JobPhase; claimed: boolean } | undefined;
  readonly node: string | undefined;

  constructor(kind: AgentErrorKind, details: AgentErrorDetails) {
    super(details.code, details);
    this.kind = kind;
    this.status = details.status;
    this.agentCode = details.agentCode;
    this.job = details.job;
    this.node = details.node;
  }

  /** Whether the request may have had its effect although no proper answer came. */
  get outcomeUnknown(): boolean {
    return this.kind === 'unreachable' || this.kind === 'misbehaves';
  }
}
