import { z } from 'zod';

/**
 * The contract between a controller (in a guest) and an agent (on the host): JSON over HTTPS,
 * snake_case. Requests are parsed strictly by the agent; answers are parsed loosely by the
 * controller (unknown keys are dropped), so that an agent may serve version N and N-1.
 */
export const apiVersion = 1;

export const headers = {
  api: 'felhom-api',
  generation: 'felhom-generation',
  nextGeneration: 'felhom-next-generation',
  bootId: 'felhom-boot-id',
  /** When the guest's PID 1 started, in the kernel's ticks: containers of one host may share a boot id. Left out where it cannot be told. */
  bootStarted: 'felhom-boot-started',
  /** On `POST /backup`: 1 when nobody asked for it but the answer that a backup is due. */
  onlyIfDue: 'felhom-only-if-due',
  idempotencyKey: 'idempotency-key',
} as const;

/** Bounds that both sides keep: bytes of a body, seconds of a long poll. */
export const limits = { bodyBytes: 256 * 1024, longPollSeconds: 60, idLength: 64 } as const;

const id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const when = z.iso.datetime();

export const jobPhase = z.enum(['queued', 'ready', 'capturing', 'snapshotted', 'done', 'failed', 'cancelled']);
export type JobPhase = z.infer<typeof jobPhase>;
export const terminalPhases: readonly JobPhase[] = ['done', 'failed', 'cancelled'];

export const backupMode = z.enum(['snapshot', 'suspend', 'stop']);
export type BackupMode = z.infer<typeof backupMode>;
export const gateKind = z.enum(['hook', 'log']);
export type GateKind = z.infer<typeof gateKind>;
export const grade = z.enum(['app-consistent', 'crash-consistent']);
export type Grade = z.infer<typeof grade>;

/** Something in the guest's configuration that the backup will not hold. */
export const exclusion = z.object({ mount: z.string().max(512), why: z.string().max(512) });
export type Exclusion = z.infer<typeof exclusion>;

export const apiError = z.object({
  error: z.object({
    code: z.string().max(64),
    message: z.string().max(4096),
    hint: z.string().max(4096),
    /** On 409 `busy`: the job that is in the way; `claimed` tells whether a controller follows it already. */
    job: z.object({ job_id: id, phase: jobPhase, claimed: z.boolean() }).optional(),
    /** On 421: the node to which the guest has moved. */
    node: z.string().max(256).optional(),
  }),
});
export type ApiError = z.infer<typeof apiError>;

export const lastBackup = z.object({
  volid: z.string().max(512),
  storage: z.string().max(128),
  storage_type: z.string().max(64),
  grade: grade.nullable(),
  at: when,
  size_bytes: z.number().int().nonnegative().nullable(),
});
export type LastBackup = z.infer<typeof lastBackup>;

/** `GET /backup/due?wait=S` */
export const dueAnswer = z.object({
  due: z.boolean(),
  /** Why (not), as a stable word: never, overdue, requested, gate_open, fresh, backoff, outside_window, job_running, held, not_configured, storage_unreadable. */
  reason: z.string().max(64),
  requested_by: z.enum(['schedule', 'operator', 'pve']).nullable(),
  job_id: id.optional(),
  age_seconds: z.number().int().nonnegative().nullable(),
  next_due_at: when.nullable(),
  queue_position: z.number().int().nonnegative().nullable(),
  last: lastBackup.nullable(),
  guest: z.object({ vmid: z.number().int(), name: z.string().max(256), node: z.string().max(256) }),
});
export type DueAnswer = z.infer<typeof dueAnswer>;

/** `POST /backup`, with an `Idempotency-Key` header. */
export const startBody = z.strictObject({ run_id: id, storage: z.string().max(128).optional() });
export type StartBody = z.infer<typeof startBody>;
export const startAnswer = z.object({ job_id: id, phase: jobPhase });
export type StartAnswer = z.infer<typeof startAnswer>;

/** `GET /backup/status?job_id&after&wait`; polls claim an open gate and renew its lease. */
export const jobStatus = z.object({
  job_id: id,
  phase: jobPhase,
  /** Rises with every change; `after=seq` waits for the next one. */
  seq: z.number().int().nonnegative(),
  origin: z.enum(['controller', 'operator', 'pve']),
  mode: backupMode.nullable(),
  gate: gateKind.nullable(),
  storage: z.string().max(128).nullable(),
  storage_type: z.string().max(64).nullable(),
  /** Per cent of the archive written, when the log tells. */
  progress: z.number().min(0).max(100).nullable(),
  size_bytes: z.number().int().nonnegative().nullable(),
  excluded: z.array(exclusion).max(256),
  upid: z.string().max(256).nullable(),
  volid: z.string().max(512).nullable(),
  /** The line or hook phase that proved the snapshot, once it is proven. */
  proof: z.string().max(512).nullable(),
  /** Why the gate gave up waiting for us (`gate_closed`, …), where it did. */
  degraded: z.string().max(512).nullable(),
  error: z.object({ code: z.string().max(64), message: z.string().max(4096), hint: z.string().max(4096) }).nullable(),
});
export type JobStatus = z.infer<typeof jobStatus>;

/** `POST /backup/{id}/quiesced` answers 202 with this, once the intent is durable. */
export const quiescedAnswer = z.object({ job_id: id, phase: jobPhase });
export type QuiescedAnswer = z.infer<typeof quiescedAnswer>;

/** `POST /backup/{id}/resumed`: the apps run again. Advice alone: a host that does not hear it goes on by itself. */
export const resumedAnswer = z.object({ job_id: id, phase: jobPhase });
export type ResumedAnswer = z.infer<typeof resumedAnswer>;

export const timelineEvent = z.object({
  at: when,
  /** Milliseconds since the run began. */
  offset_ms: z.number().nonnegative(),
  event: z.string().max(128),
  stack: z.string().max(256).optional(),
});
export type TimelineEvent = z.infer<typeof timelineEvent>;

/** `POST /backup/{id}/report`: what the apps did. The first report wins. */
export const reportBody = z.strictObject({
  run_id: id,
  grade,
  grade_reason: z.string().max(1024).nullable(),
  downtime_ms: z.number().nonnegative().nullable(),
  kept_running: z.array(z.string().max(256)).max(1024),
  timeline: z.array(timelineEvent).max(2048),
});
export type ReportBody = z.infer<typeof reportBody>;
export const reportAnswer = z.object({ accepted: z.boolean(), grade });
export type ReportAnswer = z.infer<typeof reportAnswer>;

/** `DELETE /backup/{id}?force=1` */
export const cancelAnswer = z.object({ job_id: id, phase: jobPhase });
export type CancelAnswer = z.infer<typeof cancelAnswer>;

/** `GET /restore-test/status` */
export const restoreTestAnswer = z.object({
  last: z.object({ at: when, ok: z.boolean(), volid: z.string().max(512), duration_ms: z.number() }).nullable(),
});
export type RestoreTestAnswer = z.infer<typeof restoreTestAnswer>;
