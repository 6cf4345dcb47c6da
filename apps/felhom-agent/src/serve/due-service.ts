import type { DueAnswer } from '@felhom/guest-api/schema.ts';
import type { Clock } from '@felhom/kernel/clock.ts';
import { type Due, judgeDue } from '../backup/due.ts';
import { isOpen, isTerminal, type Job } from '../backup/job.ts';
import type { Jobs } from '../backup/jobs.ts';
import { readMark } from '../backup/notes.ts';
import { createNotifier } from '../backup/notifier.ts';
import type { BackupItem, Hypervisor } from '../backup/ports.ts';
import type { BackupPolicy } from '../config.ts';
import type { GuestsState } from './guests-state.ts';

export interface DueService {
  /** Looks now. */
  due(vmid: number): Promise<DueAnswer>;
  /** Looks until a backup is due or asked for, for `waitMs` at most. */
  waitForDue(vmid: number, waitMs: number, signal: AbortSignal): Promise<DueAnswer>;
  /** What the storages say now, whatever was told before; what cannot be read in time is not due. */
  verdict(vmid: number): Promise<Pick<Due, 'due' | 'reason' | 'storage'>>;
  /** The storage of the target that waits longest, or undefined when that cannot be told quickly. */
  mostOverdue(vmid: number): Promise<string | undefined>;
  /** Wakes every waiter: something outside of jobs changed (the configuration). */
  wake(): void;
}

export interface DueOptions {
  pve: Pick<Hypervisor, 'node' | 'storage' | 'backups'>;
  jobs: Jobs;
  guests: Pick<GuestsState, 'entry' | 'set' | 'raise'>;
  clock: Clock;
  policies(vmid: number): readonly BackupPolicy[];
  held(vmid: number): string | null;
  guestName(vmid: number): string;
  backoffMs: number;
  cacheMs: number;
  log(message: string, fields?: Record<string, unknown>): void;
}

/** A slow storage must not hold up a request: then the first target is taken. */
const mostOverdueMs = 3_000;
/** Below what a controller waits for an answer. */
const verdictMs = 10_000;

type Listing = { type: string; items: readonly BackupItem[] };
type Cache = Map<string, { atMs: number; listing: Promise<Listing | null> }>;

export function createDueService(options: DueOptions): DueService {
  const { jobs, clock } = options;
  const changed = createNotifier(clock);
  const cache: Cache = new Map();
  jobs.onChange((job) => {
    if (isTerminal(job)) for (const key of cache.keys()) if (key.endsWith(` ${job.vmid}`)) cache.delete(key);
    changed.notify();
  });
  const due = async (vmid: number): Promise<DueAnswer> => {
    const open = openAnswer(options, vmid);
    if (open !== null) return open;
    const verdict = await judge(options, cache, vmid);
    // A gate may have opened while the storage was read.
    return openAnswer(options, vmid) ?? toAnswer(options, vmid, verdict);
  };
  return {
    due,
    wake: () => changed.notify(),
    verdict: async (vmid) => {
      const enough = new AbortController();
      const unreadable = { due: false, reason: 'storage_unreadable', storage: null } as const;
      const patience = clock.sleep(verdictMs, enough.signal).then(() => unreadable);
      return await Promise.race([judgeSettled(options, cache, vmid), patience]).finally(() => enough.abort());
    },
    mostOverdue: async (vmid) => {
      if (options.policies(vmid).length < 2) return undefined;
      const patience = clock.sleep(mostOverdueMs).then(() => null);
      const verdict = await Promise.race([judge(options, cache, vmid), patience]);
      return verdict?.storage ?? undefined;
    },
    waitForDue: async (vmid, waitMs, signal) => {
      const deadline = clock.monotonicMs() + waitMs;
      for (;;) {
        const seen = { changed: false };
        const stopListening = jobs.onChange((job) => {
          if (job.vmid === vmid) seen.changed = true;
        });
        const answer = await due(vmid).finally(stopListening);
        const left = deadline - clock.monotonicMs();
        if (answer.due || left <= 0 || signal.aborted) return answer;
        if (seen.changed) continue;
        const untilDue = answer.next_due_at === null ? left : Date.parse(answer.next_due_at) - clock.nowMs();
        await changed.wait(Math.min(left, Math.max(1_000, untilDue), Math.max(1_000, options.cacheMs)), signal);
      }
    },
  };
}

/** What an open job of the guest says: an open gate or an operator's request answers at once. */
function openAnswer(options: DueOptions, vmid: number): DueAnswer | null {
  const job = options.jobs.openOf(vmid);
  if (job === undefined) return null;
  // A job that is not on disk yet would be gone with us: whoever followed it would be left with nothing.
  const told = options.jobs.told(job.job_id);
  const asked =
    told?.quiesce &&
    !told.claimed &&
    (told.phase === 'ready' || (told.phase === 'queued' && told.origin === 'operator'));
  const common = {
    ...guestPart(options, vmid),
    age_seconds: null,
    next_due_at: null,
    last: null,
    queue_position: queuePosition(options.jobs, told ?? job),
  };
  if (!asked) return { ...common, due: false, reason: 'job_running', requested_by: null };
  const by = told.origin === 'controller' ? 'schedule' : told.origin;
  return {
    ...common,
    due: true,
    reason: told.phase === 'ready' ? 'gate_open' : 'requested',
    requested_by: by,
    job_id: told.job_id,
  };
}

function queuePosition(jobs: Jobs, job: Job): number | null {
  if (job.phase !== 'queued') return null;
  return jobs
    .all()
    .filter((other) => isOpen(other) && other.phase === 'queued')
    .findIndex((other) => other.job_id === job.job_id);
}

function toAnswer(options: DueOptions, vmid: number, verdict: Due): DueAnswer {
  return {
    ...guestPart(options, vmid),
    due: verdict.due,
    reason: verdict.reason,
    requested_by: verdict.due ? 'schedule' : null,
    age_seconds: verdict.ageSeconds,
    next_due_at: verdict.nextDueMs === null ? null : new Date(verdict.nextDueMs).toISOString(),
    queue_position: null,
    last: verdict.last,
  };
}

function guestPart(options: DueOptions, vmid: number): Pick<DueAnswer, 'guest'> {
  return { guest: { vmid, name: options.guestName(vmid), node: options.pve.node } };
}

/** A backup that ends while its storage is being read may be missing from what was read: looked again. */
async function judgeSettled(options: DueOptions, cache: Cache, vmid: number): Promise<Due> {
  for (;;) {
    const seen = { end: false };
    const stopListening = options.jobs.onChange((job) => {
      if (job.vmid === vmid && isTerminal(job)) seen.end = true;
    });
    const verdict = await judge(options, cache, vmid).finally(stopListening);
    if (!seen.end) return verdict;
  }
}

async function judge(options: DueOptions, cache: Cache, vmid: number): Promise<Due> {
  const policies = options.policies(vmid);
  const names = [...new Set(policies.map((policy) => policy.storage))];
  const listings = new Map(
    await Promise.all(names.map(async (name) => [name, await list(options, cache, name, vmid)] as const)),
  );
  await raiseForForeign(options, vmid, [...listings.values()]);
  return judgeDue({
    policies,
    listings,
    jobs: options.jobs.ofGuest(vmid),
    held: options.held(vmid),
    nowMs: options.clock.nowMs(),
    backoffMs: options.backoffMs,
    minutesOfDay: localMinutes,
  });
}

export function localMinutes(ms: number): number {
  const date = new Date(ms);
  return date.getHours() * 60 + date.getMinutes();
}

async function list(options: DueOptions, cache: Cache, storage: string, vmid: number): Promise<Listing | null> {
  const key = `${storage} ${vmid}`;
  const kept = cache.get(key);
  const now = options.clock.monotonicMs();
  if (kept !== undefined && now - kept.atMs < options.cacheMs) return await kept.listing;
  const listing = Promise.all([options.pve.storage(storage), options.pve.backups(storage, vmid)]).then(
    ([found, items]) => ({ type: found?.type ?? '', items }),
    (error: unknown) => {
      options.log('a storage cannot be read', {
        storage,
        error: error instanceof Error ? error.message : String(error),
      });
      return null;
    },
  );
  cache.set(key, { atMs: now, listing });
  return await listing;
}

/** A backup that somebody else made holds the guest as it was: its generation is from now on older. */
async function raiseForForeign(
  options: DueOptions,
  vmid: number,
  listings: readonly (Listing | null)[],
): Promise<void> {
  const foreign = listings.flatMap((listing) => listing?.items ?? []).filter((item) => readMark(item.notes) === null);
  const newest = Math.max(0, ...foreign.map((item) => item.ctimeSeconds));
  const known = options.guests.entry(vmid).foreign_seconds;
  if (known !== null && newest <= known) return;
  try {
    if (known !== null) await options.guests.raise(vmid);
    await options.guests.set(vmid, { foreign_seconds: newest });
  } catch (error) {
    options.log('a backup by others is not on record', { vmid, error: String(error) });
  }
}
