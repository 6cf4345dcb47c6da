import type { IncomingMessage } from 'node:http';
import { headers, limits, reportBody, startBody } from '@felhom/guest-api/schema.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { z } from 'zod';
import type { Job } from '../backup/job.ts';
import type { Jobs } from '../backup/jobs.ts';
import { gradeOf } from '../backup/notes.ts';
import type { BackupService } from '../backup/service.ts';
import type { AgentConfig } from '../config.ts';
import type { DueService } from './due-service.ts';
import type { GuestsState } from './guests-state.ts';
import { type Answer, HttpProblem, readBody } from './http.ts';

/** What the guest API stands on. */
export interface GuestApi {
  jobs: Jobs;
  service: BackupService;
  due: DueService;
  guests: GuestsState;
  clock: Clock;
  config: Pick<AgentConfig, 'limits' | 'bounds'>;
  /** The node to which a guest has moved, or null while it is here (or cannot be told). */
  movedTo(vmid: number): Promise<string | null>;
  /** An authenticated request of this guest came in: its watcher is calling. */
  heard(vmid: number): void;
  /** A guest was refused as a copy or for a conflict; or is no longer. */
  refusedAlert(vmid: number, reason: string | null): void;
  metrics(): string;
  log(message: string, fields?: Record<string, unknown>): void;
  /** Ends every long poll: the agent is stopping. */
  stop: AbortSignal;
}

export interface Call {
  vmid: number;
  request: IncomingMessage;
  url: URL;
  gone: AbortSignal;
}

type Handler = (api: GuestApi, call: Call, params: readonly string[]) => Promise<Answer>;

/** The routes of a guest. Everything else is 404. */
export const guestCalls: readonly { method: string; path: RegExp; handle: Handler }[] = [
  { method: 'GET', path: /^\/backup\/due$/, handle: getDue },
  { method: 'POST', path: /^\/backup$/, handle: postBackup },
  { method: 'GET', path: /^\/backup\/status$/, handle: getStatus },
  { method: 'POST', path: /^\/backup\/([A-Za-z0-9_-]{1,64})\/quiesced$/, handle: postQuiesced },
  { method: 'POST', path: /^\/backup\/([A-Za-z0-9_-]{1,64})\/resumed$/, handle: postResumed },
  { method: 'POST', path: /^\/backup\/([A-Za-z0-9_-]{1,64})\/report$/, handle: postReport },
  { method: 'DELETE', path: /^\/backup\/([A-Za-z0-9_-]{1,64})$/, handle: deleteBackup },
  { method: 'GET', path: /^\/restore-test\/status$/, handle: async () => ({ status: 200, body: { last: null } }) },
];

async function getDue(api: GuestApi, { vmid, url, gone }: Call): Promise<Answer> {
  const waitMs = waitOf(url) * 1000;
  const signal = AbortSignal.any([gone, api.stop]);
  return { status: 200, body: await api.due.waitForDue(vmid, waitMs, signal) };
}

async function postBackup(api: GuestApi, { vmid, request }: Call): Promise<Answer> {
  const key = request.headers[headers.idempotencyKey];
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(key)) {
    throw new HttpProblem(400, {
      code: 'usage',
      message: 'an Idempotency-Key header is needed; nothing was started',
      hint: 'Send a new random one with every new request.',
    });
  }
  const body = await parseBody(api, request, startBody);
  const onlyIfDue = request.headers[headers.onlyIfDue] === '1';
  const job = await api.service.startForGuest(vmid, body, key, { onlyIfDue });
  return { status: 202, body: { job_id: job.job_id, phase: job.phase } };
}

async function getStatus(api: GuestApi, { vmid, url, gone }: Call): Promise<Answer> {
  const job = ownJob(api, vmid, url.searchParams.get('job_id') ?? '');
  const afterText = url.searchParams.get('after');
  // A `seq` that we have never reached comes from before a restart: there is news.
  const after = afterText === null ? -1 : Math.min(number(afterText), Number.MAX_SAFE_INTEGER);
  const stale = after > (api.jobs.get(job.job_id)?.seq ?? 0);
  const deadline = api.clock.monotonicMs() + (afterText === null || stale ? 0 : waitOf(url) * 1000);
  const signal = AbortSignal.any([gone, api.stop]);
  api.service.poll(job);
  for (;;) {
    const told = api.jobs.told(job.job_id) ?? job;
    const left = deadline - api.clock.monotonicMs();
    if (told.seq > after || left <= 0 || signal.aborted) {
      if (!gone.aborted) api.service.poll(told);
      return { status: 200, body: api.service.status(told) };
    }
    // While a gate is open a poll comes back soon: every poll renews its lease.
    const atMost = told.phase === 'ready' ? api.config.bounds.lease / 3 : left;
    await api.jobs.waitFor(job.job_id, after, Math.min(left, atMost), signal);
    if (told.phase === 'ready' && (api.jobs.told(job.job_id)?.seq ?? 0) === told.seq)
      return { status: 200, body: api.service.status(told) };
  }
}

async function postQuiesced(api: GuestApi, { vmid, request }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  await readBody(request, api.config.limits.body);
  ownJob(api, vmid, jobId);
  const job = await api.service.quiesced(jobId);
  return { status: 202, body: { job_id: job.job_id, phase: job.phase } };
}

async function postResumed(api: GuestApi, { vmid, request }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  await readBody(request, api.config.limits.body);
  const job = ownJob(api, vmid, jobId);
  api.service.resumed(jobId);
  return { status: 200, body: { job_id: job.job_id, phase: job.phase } };
}

async function postReport(api: GuestApi, { vmid, request }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  const body = await parseBody(api, request, reportBody);
  const before = ownJob(api, vmid, jobId);
  const accepted = before.report === null || before.report.run_id === body.run_id;
  const job = await api.service.report(jobId, body);
  return { status: 200, body: { accepted, grade: gradeOf(job).grade } };
}

async function deleteBackup(api: GuestApi, { vmid, url }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  ownJob(api, vmid, jobId);
  const force = ['1', 'true'].includes(url.searchParams.get('force') ?? '');
  const reason = (url.searchParams.get('reason') ?? '').replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  const job = await api.service.cancel(jobId, {
    force,
    by: reason === '' ? "the guest's controller" : `the guest's controller: ${reason}`,
  });
  return { status: 200, body: { job_id: job.job_id, phase: job.phase } };
}

/** A job of this guest. Another's job is as unknown as one that never was. */
function ownJob(api: GuestApi, vmid: number, jobId: string): Job {
  const job = api.jobs.get(jobId);
  if (job !== undefined && job.vmid === vmid) return job;
  throw new HttpProblem(404, {
    code: 'not_found',
    message: 'this guest has no such job',
    hint: 'Ask GET /backup/due, or start a new one.',
  });
}

async function parseBody<S extends z.ZodType>(
  api: GuestApi,
  request: IncomingMessage,
  schema: S,
): Promise<z.output<S>> {
  const text = await readBody(request, api.config.limits.body);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new HttpProblem(400, {
      code: 'usage',
      message: 'the body is not JSON; nothing was started',
      hint: 'Send one JSON object.',
    });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw new HttpProblem(422, {
    code: 'usage',
    message: `the body is not as agreed: ${where}${issue?.message ?? 'wrong shape'}; nothing was started`,
    hint: 'See packages/guest-api/src/schema.ts.',
  });
}

function number(text: string): number {
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  throw new HttpProblem(400, {
    code: 'usage',
    message: `${JSON.stringify(text.slice(0, 40))} is not a whole number`,
    hint: 'Send a whole number.',
  });
}

function waitOf(url: URL): number {
  const text = url.searchParams.get('wait');
  return text === null ? 0 : Math.min(Math.max(0, number(text)), limits.longPollSeconds);
}
