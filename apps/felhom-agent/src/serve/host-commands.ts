import type { DueAnswer, JobStatus } from '@felhom/guest-api/schema.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import type { Job } from '../backup/job.ts';
import { gradeOf } from '../backup/notes.ts';
import type { Alerts } from '../backup/ports.ts';
import type { AgentApp } from './app.ts';
import { adoptionIn } from './guests-state.ts';
import { HttpProblem } from './http.ts';
import { adoptRefused } from './identity.ts';

/** What the host's own commands may ask of `serve`. */
export interface HostCommands {
  status(): Promise<Record<string, unknown>>;
  jobs(): { jobs: Job[] };
  guests(): Promise<{ guests: GuestRow[] }>;
  due(vmids: readonly number[]): Promise<{ guests: DueAnswer[] }>;
  startBackups(body: unknown): Promise<{ started: StartedRow[] }>;
  jobStatus(jobId: string, options: { after: number; waitMs: number; signal: AbortSignal }): Promise<HostJobStatus>;
  cancel(jobId: string, force: boolean): Promise<HostJobStatus>;
  adopt(vmid: number, body: unknown): Promise<GuestRow>;
  /** A signed operation put the guest back to an earlier time. */
  restored(vmid: number): Promise<{ todo: string | null }>;
  hold(vmid: number, body: unknown): Promise<GuestRow>;
  release(vmid: number): Promise<GuestRow>;
  metrics(): string;
}

export type HostJobStatus = JobStatus & {
  vmid: number;
  claimed: boolean;
  grade: string;
  grade_reason: string | null;
  downtime_ms: number | null;
  reported: boolean;
};

export interface StartedRow {
  vmid: number;
  job_id: string | null;
  quiesce: boolean;
  error: { code: string; message: string; hint: string } | null;
}

export interface GuestRow {
  vmid: number;
  name: string;
  here: boolean;
  running: boolean | null;
  has_token: boolean;
  calling: boolean;
  generation: number;
  refused: { reason: string; generation: number; at: string } | null;
  held: string | null;
  storages: string[];
}

const startSchema = z.strictObject({
  vmids: z.array(z.number().int()).max(1000).optional(),
  all: z.boolean().optional(),
  due: z.boolean().optional(),
  without_quiesce: z.boolean().optional(),
  storage: z.string().max(128).optional(),
});
const adoptSchema = z.strictObject({
  token_sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
});

const holdSchema = z.strictObject({ reason: z.string().min(1).max(1000) });

export function createHostCommands(app: AgentApp): HostCommands {
  const status = (jobId: string): HostJobStatus => {
    const job = app.jobs.told(jobId);
    if (job === undefined)
      throw new HttpProblem(404, {
        code: 'not_found',
        message: `there is no job ${jobId}`,
        hint: 'felhom-agent backup list',
      });
    const { grade, reason } = gradeOf(job);
    return {
      ...app.service.status(job),
      vmid: job.vmid,
      claimed: job.claimed,
      grade,
      grade_reason: reason,
      downtime_ms: job.report?.downtime_ms ?? null,
      reported: job.report !== null,
    };
  };
  return {
    status: async () => ({
      node: app.pve.node,
      alerts: app.alerts.list(),
      jobs: app.jobs.all().filter((job) => job.ended_at === null).length,
    }),
    jobs: () => ({ jobs: [...app.jobs.all()] }),
    guests: async () => ({
      guests: await Promise.all(app.knownVmids().map(async (vmid) => await guestRow(app, vmid))),
    }),
    due: async (vmids) => ({
      guests: await Promise.all(
        (vmids.length === 0 ? app.knownVmids() : vmids).map(async (vmid) => await app.due.due(vmid)),
      ),
    }),
    startBackups: async (body) => await startBackups(app, parse(startSchema, body)),
    jobStatus: async (jobId, { after, waitMs, signal }) => {
      const now = status(jobId);
      if (now.seq <= after && waitMs > 0)
        await app.jobs.waitFor(jobId, after, waitMs, AbortSignal.any([signal, app.stop]));
      return status(jobId);
    },
    cancel: async (jobId, force) => {
      await app.service.cancel(jobId, { force, by: 'an operator' });
      return status(jobId);
    },
    adopt: async (vmid, body) => {
      const { token_sha256: hash } = parse(adoptSchema, body);
      if (hash === undefined && !app.knownVmids().includes(vmid)) throw neverSeen(vmid);
      const identity = adoptRefused(app.guests.entry(vmid).identity);
      await app.guests.set(vmid, { identity, ...(hash === undefined ? {} : { token_sha256: hash }) });
      clearRefusal(app.alerts, vmid);
      return await guestRow(app, vmid);
    },
    hold: async (vmid, body) => {
      const { reason } = parse(holdSchema, body);
      await app.guests.set(vmid, { hold: { reason, at: new Date(app.api.clock.nowMs()).toISOString() } });
      return await guestRow(app, vmid);
    },
    release: async (vmid) => {
      await app.guests.set(vmid, { hold: null });
      return await guestRow(app, vmid);
    },
    restored: async (vmid) => ({ todo: await adoptionIn(app.guests).adopt(vmid) }),
    metrics: () => app.metrics(),
  };
}

function neverSeen(vmid: number): HttpProblem {
  return new HttpProblem(404, {
    code: 'not_found',
    message: `guest ${vmid} has no token and no file in guests.d: there is nobody to let in`,
    hint: `Give it a token: felhom-agent guest adopt ${vmid} --token-out FILE`,
  });
}

function clearRefusal(alerts: Alerts, vmid: number): void {
  alerts.clear(`refused:${vmid}`);
}

async function guestRow(app: AgentApp, vmid: number): Promise<GuestRow> {
  const { identity } = app.guests.entry(vmid);
  const now = await app.guestNow(vmid).catch(() => null);
  const refused = identity.refused;
  return {
    vmid,
    name: app.guestName(vmid),
    here: now !== null,
    running: now?.running ?? null,
    has_token: app.guests.tokens().some((token) => token.vmid === vmid),
    calling: app.isCalling(vmid),
    generation: identity.generation,
    refused: refused === null ? null : { reason: refused.reason, generation: refused.generation, at: refused.at },
    held: app.held(vmid),
    storages: app.policies(vmid).map((policy) => policy.storage),
  };
}

async function startBackups(app: AgentApp, body: z.output<typeof startSchema>): Promise<{ started: StartedRow[] }> {
  const vmids = body.vmids ?? (body.all === true || body.due === true ? app.knownVmids() : []);
  const wanted: number[] = [];
  for (const vmid of new Set(vmids)) {
    if (body.vmids === undefined && (await app.guestNow(vmid).catch(() => null)) === null) continue;
    if (body.due !== true || (await app.due.due(vmid)).due) wanted.push(vmid);
  }
  return { started: await Promise.all(wanted.map(async (vmid) => await startOne(app, vmid, body))) };
}

/** A guest whose controller is not calling is asked all the same: it may come back within the claim's time. */
async function startOne(app: AgentApp, vmid: number, body: z.output<typeof startSchema>): Promise<StartedRow> {
  const quiesce = body.without_quiesce !== true;
  // Where nobody could say, the job itself finds out.
  const now = await app.guestNow(vmid).catch(() => undefined);
  if (now === null) return { vmid, job_id: null, quiesce, error: notHere(vmid, app.pve.node) };
  try {
    const job = await app.service.startForOperator(vmid, { storage: body.storage, quiesce });
    return { vmid, job_id: job.job_id, quiesce: job.quiesce, error: null };
  } catch (error) {
    return { vmid, job_id: null, quiesce, error: asFailure(error).toJSON() };
  }
}

/** A number that was mistyped leaves no job behind that would have to be explained for ever. */
function notHere(vmid: number, node: string): NonNullable<StartedRow['error']> {
  return new Failure('unknown_guest', {
    message: `guest ${vmid} is not on ${node}; nothing was started`,
    hint: 'Look where it is: felhom-agent guest list',
  }).toJSON();
}

function parse<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new HttpProblem(422, {
    code: 'usage',
    message: parsed.error.issues[0]?.message ?? 'wrong body',
    hint: 'Agent and command are of different versions: restart felhom-agent serve.',
  });
}
