import type { Clock } from '@felhom/kernel/clock.ts';
import type { Driver } from '../backup/driver.ts';
import { isCalling } from '../backup/gate.ts';
import { createGates } from '../backup/gates.ts';
import { createHookGate, type HookGate } from '../backup/hook-gate.ts';
import { type Job, type JobRecord, isTerminal, isUnsettled } from '../backup/job.ts';
import { type Jobs, createJobs } from '../backup/jobs.ts';
import type { Alerts, GuestNow, Hypervisor, JournalPort, Lanes, RootHelper } from '../backup/ports.ts';
import { runJob } from '../backup/run-job.ts';
import { type BackupService, createBackupService } from '../backup/service.ts';
import { type AgentConfig, type BackupPolicy, type GuestFile, policiesOf } from '../config.ts';
import { type DueService, createDueService } from './due-service.ts';
import type { GuestApi } from './guest-api.ts';
import type { GuestsState } from './guests-state.ts';
import { metricsText } from './metrics.ts';

/** The agent's inside: everything but listening. All effects come in as ports. */
export interface AgentApp {
  jobs: Jobs;
  service: BackupService;
  due: DueService;
  hook: HookGate;
  guests: GuestsState;
  alerts: Alerts;
  pve: Hypervisor;
  api: GuestApi;
  stop: AbortSignal;
  knownVmids(): number[];
  policies(vmid: number): readonly BackupPolicy[];
  held(vmid: number): string | null;
  guestName(vmid: number): string;
  guestNow(vmid: number): Promise<GuestNow | null>;
  isCalling(vmid: number): boolean;
  metrics(): string;
  /** Takes up every unsettled job of the journal. Jobs of an earlier boot of the host end as failed. */
  recover(): Promise<void>;
  /** Resolves when every job that is driven has let go. */
  idle(): Promise<void>;
}

export interface AgentAppOptions {
  config: AgentConfig;
  guestFiles: ReadonlyMap<number, GuestFile>;
  pve: Hypervisor;
  journal: JournalPort;
  records: readonly JobRecord[];
  lanes: Lanes;
  helper: RootHelper;
  alerts: Alerts;
  guests: GuestsState;
  clock: Clock;
  newId: () => string;
  hostBootId: string;
  /** Which gate a job opened now gets. */
  gateKind: () => 'hook' | 'log';
  stop: AbortSignal;
  log(message: string, fields?: Record<string, unknown>): void;
}

export function createAgentApp(options: AgentAppOptions): AgentApp {
  const { config, clock, pve, guests, alerts, stop } = options;
  const jobs = createJobs({ records: options.records, journal: options.journal, clock });
  const heard = new Map<number, number>();
  const requests = new Map<number, number>();
  const names = new Map<number, string>();
  const places = placeFinder(options, names);
  const driven = new Map<string, Promise<void>>();

  const gates = createGates({ clock, bounds: config.bounds, stop, onEnd: (jobId, reason) => service.closeGate(jobId, reason) });
  const policies = (vmid: number): readonly BackupPolicy[] => policiesOf(config, options.guestFiles.get(vmid));
  const guestName = (vmid: number): string => names.get(vmid) ?? options.guestFiles.get(vmid)?.name ?? '';
  const driver: Driver = {
    ports: { pve, journal: options.journal, lanes: options.lanes, helper: options.helper, alerts, generations: { raise: raiseSafely } },
    jobs,
    gates,
    clock,
    config,
    policyOf: (job) => policyOf(policies(job.vmid), job),
    guestName,
    leaveDown: (vmid) => {
      const file = options.guestFiles.get(vmid);
      return file?.held ?? (file?.desired?.state === 'stopped' ? 'declared stopped' : null);
    },
    lastRequestMs: (vmid) => heard.get(vmid) ?? null,
    hookWord: (jobId) => hook.word(jobId),
    stop,
    log: options.log,
  };
  const launch = (jobId: string): void => {
    if (driven.has(jobId) || stop.aborted) return;
    const run = runJob(driver, jobId)
      .catch((error: unknown) => options.log('a job stopped being driven', { job: jobId, error: error instanceof Error ? error.message : String(error) }))
      .finally(() => driven.delete(jobId));
    driven.set(jobId, run);
  };
  const common = { driver, newId: options.newId, hostBootId: options.hostBootId, launch };
  const service = createBackupService({ ...common, chooseGate: () => options.gateKind(), policies: (vmid) => policies(vmid), hasController, mostOverdue: (vmid) => due.mostOverdue(vmid) });
  const hook = createHookGate({ ...common, knows: (vmid) => knownVmids().includes(vmid) });
  const due = createDueService({
    pve, jobs, guests, clock, policies, guestName, held: (vmid) => options.guestFiles.get(vmid)?.held ?? null,
    backoffMs: config.bounds.backoff, cacheMs: config.bounds.storage_cache, log: options.log,
  });

  async function raiseSafely(vmid: number): Promise<void> {
    await guests.raise(vmid).catch((error: unknown) => options.log('a raised generation is not on disk', { vmid, error: String(error) }));
  }
  function hasController(vmid: number): boolean {
    return guests.tokens().some((token) => token.vmid === vmid);
  }
  function knownVmids(): number[] {
    const all = new Set([...options.guestFiles.keys(), ...guests.tokens().map((token) => token.vmid)]);
    return [...all].toSorted((left, right) => left - right);
  }
  const calling = (vmid: number): boolean => isCalling(heard.get(vmid) ?? null, config.bounds, clock.monotonicMs());
  const metrics = (): string =>
    metricsText({ jobs: jobs.all(), alerts: alerts.list().length, requests, calling: knownVmids().map((vmid) => ({ vmid, calling: calling(vmid) })) });

  const api: GuestApi = {
    jobs, service, due, guests, clock, config, stop, metrics,
    movedTo: async (vmid) => await places.movedTo(vmid),
    heard: (vmid) => {
      heard.set(vmid, clock.monotonicMs());
      requests.set(vmid, (requests.get(vmid) ?? 0) + 1);
    },
    refusedAlert: (vmid, reason) => {
      if (reason === null) return alerts.clear(`refused:${vmid}`);
      const what = reason === 'restored_copy' ? 'a restored copy of it calls' : 'two guests take turns as it';
      alerts.raise({ key: `refused:${vmid}`, vmid, message: `guest ${vmid}: ${what}; it is refused`, hint: `If it is the guest from now on: felhom-agent guest adopt ${vmid}` });
    },
    log: options.log,
  };

  return {
    jobs, service, due, hook, guests, alerts, pve, api, stop, knownVmids, policies, guestName, metrics,
    held: (vmid) => options.guestFiles.get(vmid)?.held ?? null,
    guestNow: async (vmid) => await places.now(vmid),
    isCalling: calling,
    recover: async () => {
      // Not waited for: a hook that calls now must find us listening, whatever PVE is doing.
      void places.refresh().catch((error: unknown) => options.log('the guests of the node cannot be listed', { error: String(error) }));
      for (const job of jobs.all()) {
        if (!isUnsettled(job)) continue;
        if (job.host_boot_id !== options.hostBootId) await endByReboot(jobs, job);
        // Before anybody is answered: the controller that held this gate polls again at once.
        else if (job.phase === 'ready') gates.open(job.job_id);
        launch(job.job_id);
      }
    },
    idle: async () => {
      await Promise.all(driven.values());
    },
  };
}

/** The policy that a job follows: its storage's, the guest's first one for a job of PVE's own. */
function policyOf(policies: readonly BackupPolicy[], job: Job): BackupPolicy {
  const found = policies.find((policy) => policy.storage === job.storage) ?? policies[0];
  const fallback: BackupPolicy = {
    storage: job.storage ?? '', everyMs: null, window: null, maxAgeMs: null, minGrade: 'crash-consistent', countForeign: false, onDowngrade: 'abort',
    mode: 'snapshot', compress: 'zstd',
  };
  return found ?? fallback;
}

/** vzdump does not outlive the host: what a job of an earlier boot still owes is its guest. */
async function endByReboot(jobs: Jobs, job: Job): Promise<void> {
  const owed = { task_ended: true, ...(job.ran === true && job.guest_owed === 'none' ? { guest_owed: 'owed' as const } : {}) };
  const error = { code: 'backup_failed', message: 'the host was restarted while the backup ran', hint: 'Ask for a new backup.' };
  await jobs.change(job.job_id, isTerminal(job) ? owed : { ...owed, phase: 'failed', error }, 'at-once');
}

interface Places {
  now(vmid: number): Promise<GuestNow | null>;
  movedTo(vmid: number): Promise<string | null>;
  refresh(): Promise<void>;
}

/** Where guests are, from lists that are `guest_cache` old at most. A PVE that does not answer moves nobody. */
function placeFinder({ pve, clock, config }: AgentAppOptions, names: Map<number, string>): Places {
  let atMs = Number.NEGATIVE_INFINITY;
  let here = new Map<number, GuestNow>();
  let elsewhere = new Map<number, string | null>();
  let reading: Promise<void> | null = null;
  const refresh = async (): Promise<void> => {
    const list = await pve.guests();
    here = new Map(list.map((guest) => [guest.vmid, guest]));
    for (const guest of list) names.set(guest.vmid, guest.name);
    elsewhere = new Map();
    atMs = clock.monotonicMs();
  };
  const fresh = async (): Promise<void> => {
    if (clock.monotonicMs() - atMs < config.bounds.guest_cache) return;
    reading ??= refresh().finally(() => {
      reading = null;
    });
    await reading;
  };
  return {
    refresh,
    now: async (vmid) => {
      await fresh();
      return here.get(vmid) ?? null;
    },
    movedTo: async (vmid) => {
      try {
        // Known to be here, even some time ago: asking again must not hold up an answer that apps wait for.
        if (here.has(vmid)) {
          void fresh().catch(() => undefined);
          return null;
        }
        await fresh();
        if (here.has(vmid)) return null;
        if (!elsewhere.has(vmid)) elsewhere.set(vmid, await pve.whereIs(vmid));
        const node = elsewhere.get(vmid) ?? null;
        return node === pve.node ? null : node;
      } catch {
        // Unknown is not moved: the call goes on, and says itself what PVE does not tell.
        return null;
      }
    },
  };
}
