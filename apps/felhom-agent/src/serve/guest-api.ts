import type { IncomingMessage } from 'node:http';
import { type RequestListener } from 'node:http';
import { apiVersion, headers, limits, reportBody, startBody } from '@felhom/guest-api/schema.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import type { z } from 'zod';
import type { Job } from '../backup/job.ts';
import type { Jobs } from '../backup/jobs.ts';
import { type BackupService, gradeWord } from '../backup/service.ts';
import type { AgentConfig } from '../config.ts';
import { findGuest } from './auth.ts';
import type { DueService } from './due-service.ts';
import type { GuestsState } from './guests-state.ts';
import { type Answer, HttpProblem, listener, readBody } from './http.ts';
import { judgeIdentity } from './identity.ts';

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

interface Call {
  vmid: number;
  request: IncomingMessage;
  url: URL;
  gone: AbortSignal;
}

type Handler = (api: GuestApi, call: Call, params: readonly string[]) => Promise<Answer>;

/** The routes of a guest. Everything else is 404. */
const routes: readonly { method: string; path: RegExp; handle: Handler }[] = [
  { method: 'GET', path: /^\/backup\/due$/, handle: getDue },
  { method: 'POST', path: /^\/backup$/, handle: postBackup },
  { method: 'GET', path: /^\/backup\/status$/, handle: getStatus },
  { method: 'POST', path: /^\/backup\/([A-Za-z0-9_-]{1,64})\/quiesced$/, handle: postQuiesced },
  { method: 'POST', path: /^\/backup\/([A-Za-z0-9_-]{1,64})\/report$/, handle: postReport },
  { method: 'DELETE', path: /^\/backup\/([A-Za-z0-9_-]{1,64})$/, handle: deleteBackup },
  { method: 'GET', path: /^\/restore-test\/status$/, handle: async () => ({ status: 200, body: { last: null } }) },
];

/** The guest API as a listener for node:https. */
export function guestApiListener(api: GuestApi): RequestListener {
  const underWay = new Map<number, number>();
  return listener(async (request, gone) => {
    const url = new URL(request.url ?? '/', 'https://agent');
    if (request.method === 'GET' && url.pathname === '/healthz') return { status: 200, body: { ok: true } };
    if (request.method === 'GET' && url.pathname === '/metrics') return { status: 200, body: api.metrics(), type: 'text' };
    const vmid = authenticate(api, request);
    const count = underWay.get(vmid) ?? 0;
    if (count >= api.config.limits.per_guest) throw tooMany();
    underWay.set(vmid, count + 1);
    try {
      return await answer(api, { vmid, request, url, gone });
    } finally {
      underWay.set(vmid, (underWay.get(vmid) ?? 1) - 1);
    }
  });
}

function authenticate(api: GuestApi, request: IncomingMessage): number {
  const vmid = findGuest(request.headers.authorization, api.guests.tokens());
  if (vmid !== null) return vmid;
  throw new HttpProblem(401, {
    code: 'unauthorized',
    message: 'the token is missing, wrong or revoked; nothing was started, the apps keep running',
    hint: 'Make a new one on the host: felhom-agent guest adopt VMID --token-out FILE',
  });
}

function tooMany(): HttpProblem {
  return new HttpProblem(429, { code: 'busy', message: 'too many requests of this guest are under way; nothing was started', hint: 'Wait for their answers.' });
}

async function answer(api: GuestApi, call: Call): Promise<Answer> {
  checkVersion(call.request);
  const next = await identify(api, call);
  const node = await api.movedTo(call.vmid);
  if (node !== null) {
    const text = { code: 'refused', message: `guest ${call.vmid} lives on node ${node}; nothing was started here`, hint: `Name the agent of ${node} in the controller's configuration.` };
    throw new HttpProblem(421, { ...text, extra: { node } });
  }
  api.heard(call.vmid);
  const { pathname } = call.url;
  const here = routes.filter((route) => route.path.test(pathname));
  const route = here.find((each) => each.method === call.request.method);
  if (route === undefined) throw noSuchCall(call.request.method ?? '', pathname, here.length > 0);
  const result = await route.handle(api, call, route.path.exec(pathname)?.slice(1) ?? []);
  // An offer may have been made while the answer was held back.
  const offer = next ?? api.guests.entry(call.vmid).identity.offered;
  return offer === null ? result : { ...result, headers: { ...result.headers, [headers.nextGeneration]: String(offer) } };
}

function noSuchCall(method: string, pathname: string, pathExists: boolean): HttpProblem {
  const hint = 'The calls of this API are listed in docs/architecture.md, section 4.';
  return new HttpProblem(pathExists ? 405 : 404, { code: 'not_found', message: `there is no ${method} ${pathname}`, hint });
}

function checkVersion(request: IncomingMessage): void {
  const word = request.headers[headers.api];
  if (word === undefined || word === String(apiVersion)) return;
  throw new HttpProblem(400, { code: 'usage', message: `this agent speaks version ${apiVersion} of the API, not ${String(word)}; nothing was started`, hint: 'Install matching versions of felhom-agent and felhom-controller.' });
}

/** Tells the guest from its copies. Answers the generation to offer. */
async function identify(api: GuestApi, { vmid, request }: Call): Promise<number | null> {
  const generation = request.headers[headers.generation];
  const bootId = request.headers[headers.bootId];
  if (typeof generation !== 'string' || !/^\d{1,15}$/.test(generation) || typeof bootId !== 'string' || !/^[A-Za-z0-9._:-]{1,128}$/.test(bootId)) {
    throw new HttpProblem(400, { code: 'usage', message: `the headers ${headers.generation} (a whole number) and ${headers.bootId} are needed; nothing was started`, hint: 'A guest that was never here before presents generation 0.' });
  }
  const at = new Date(api.clock.nowMs()).toISOString();
  const verdict = judgeIdentity(api.guests.entry(vmid).identity, { generation: Number(generation), bootId }, at);
  if (verdict.changed) {
    await api.guests.set(vmid, { identity: verdict.identity }).catch((error: unknown) => api.log('what is known of a guest is not on disk', { vmid, error: String(error) }));
    api.refusedAlert(vmid, verdict.identity.refused?.reason ?? null);
  }
  if (verdict.kind === 'accepted') return verdict.next;
  const copy = verdict.reason === 'restored_copy';
  throw new HttpProblem(409, {
    code: verdict.reason,
    message: copy
      ? `this is a restored copy of guest ${vmid} (generation ${generation}, in force is ${verdict.identity.generation}); nothing was started or recorded`
      : `two guests take turns as guest ${vmid}; neither is served, nothing was started`,
    hint: `If this one is the guest from now on, on the host: felhom-agent guest adopt ${vmid}`,
  });
}

async function getDue(api: GuestApi, { vmid, url, gone }: Call): Promise<Answer> {
  const waitMs = waitOf(url) * 1000;
  const signal = AbortSignal.any([gone, api.stop]);
  return { status: 200, body: await api.due.waitForDue(vmid, waitMs, signal) };
}

async function postBackup(api: GuestApi, { vmid, request }: Call): Promise<Answer> {
  const key = request.headers[headers.idempotencyKey];
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(key)) {
    throw new HttpProblem(400, { code: 'usage', message: 'an Idempotency-Key header is needed; nothing was started', hint: 'Send a new random one with every new request.' });
  }
  const body = await parseBody(api, request, startBody);
  const job = await api.service.startForGuest(vmid, body, key);
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
    if (told.phase === 'ready' && (api.jobs.told(job.job_id)?.seq ?? 0) === told.seq) return { status: 200, body: api.service.status(told) };
  }
}

async function postQuiesced(api: GuestApi, { vmid, request }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  await readBody(request, api.config.limits.body);
  ownJob(api, vmid, jobId);
  const job = await api.service.quiesced(jobId);
  return { status: 202, body: { job_id: job.job_id, phase: job.phase } };
}

async function postReport(api: GuestApi, { vmid, request }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  const body = await parseBody(api, request, reportBody);
  const before = ownJob(api, vmid, jobId);
  const accepted = before.report === null || before.report.run_id === body.run_id;
  const job = await api.service.report(jobId, body);
  return { status: 200, body: { accepted, grade: gradeWord(job) } };
}

async function deleteBackup(api: GuestApi, { vmid, url }: Call, [jobId = '']: readonly string[]): Promise<Answer> {
  ownJob(api, vmid, jobId);
  const force = ['1', 'true'].includes(url.searchParams.get('force') ?? '');
  const reason = (url.searchParams.get('reason') ?? '').replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  const job = await api.service.cancel(jobId, { force, by: reason === '' ? "the guest's controller" : `the guest's controller: ${reason}` });
  return { status: 200, body: { job_id: job.job_id, phase: job.phase } };
}

/** A job of this guest. Another's job is as unknown as one that never was. */
function ownJob(api: GuestApi, vmid: number, jobId: string): Job {
  const job = api.jobs.get(jobId);
  if (job !== undefined && job.vmid === vmid) return job;
  throw new HttpProblem(404, { code: 'not_found', message: 'this guest has no such job', hint: 'Ask GET /backup/due, or start a new one.' });
}

async function parseBody<S extends z.ZodType>(api: GuestApi, request: IncomingMessage, schema: S): Promise<z.output<S>> {
  const text = await readBody(request, api.config.limits.body);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new HttpProblem(400, { code: 'usage', message: 'the body is not JSON; nothing was started', hint: 'Send one JSON object.' });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw new HttpProblem(422, { code: 'usage', message: `the body is not as agreed: ${where}${issue?.message ?? 'wrong shape'}; nothing was started`, hint: 'See packages/guest-api/src/schema.ts.' });
}

function number(text: string): number {
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  throw new HttpProblem(400, { code: 'usage', message: `${JSON.stringify(text.slice(0, 40))} is not a whole number`, hint: 'Send a whole number.' });
}

function waitOf(url: URL): number {
  const text = url.searchParams.get('wait');
  return text === null ? 0 : Math.min(Math.max(0, number(text)), limits.longPollSeconds);
}
