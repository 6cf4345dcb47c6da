import type { Clock } from '@felhom/kernel/clock.ts';
import type { Driver } from '../backup/driver.ts';
import { isCalling } from '../backup/gate.ts';
import { createGates } from '../backup/gates.ts';
import { createHookGate, type HookGate } from '../backup/hook-gate.ts';
import { isUnsettled, type JobRecord } from '../backup/job.ts';
import { createJobs, type Jobs } from '../backup/jobs.ts';
import type { Alerts, GuestNow, Hypervisor, JournalPort, RootHelper } from '../backup/ports.ts';
import { endByReboot } from '../backup/recover.ts';
import { runJob } from '../backup/run-job.ts';
import { type BackupService, createBackupService } from '../backup/service.ts';
import { type AgentConfig, type BackupPolicy, type GuestFile, policiesOf, policyOf } from '../config.ts';
import type { Lanes } from '../lanes/lanes.ts';
import type { PassReport } from '../reconcile/report.ts';
import { createDueService, type DueService } from './due-service.ts';
import type { GuestApi } from './guest-calls.ts';
import type { GuestsState } from './guests-state.ts';
import { metricsText } from './metrics.ts';
import { placeFinder } from './places.ts';

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
  /** The newest pass of reconcile, for the metrics. */
  lastPass?: () => PassReport | null;
  stop: AbortSignal;
  log(message: string, fields?: Record<string, unknown>): void;
}

export function createAgentApp(options: AgentAppOptions): AgentApp {
  const { config, clock, pve, guests, alerts, stop } = options;
  const log: AgentAppOptions['log'] = (message, fields) => options.log(message, fields);
  const jobs = createJobs({ records: options.records, journal: options.journal, clock });
  const heard = new Map<number, number>();
  const requests = new Map<number, number>();
  const names = new Map<number, string>();
  const places = placeFinder(options, names);
  const driven = new Map<string, Promise<void>>();

  const gates = createGates({
    clock,
    bounds: config.bounds,
    stop,
    onEnd: (jobId, reason) => service.closeGate(jobId, reason),
  });
  const policies = (vmid: number): readonly BackupPolicy[] => policiesOf(config, options.guestFiles.get(vmid));
  const guestName = (vmid: number): string => names.get(vmid) ?? options.guestFiles.get(vmid)?.name ?? '';
  const held = (vmid: number): string | null =>
    guests.entry(vmid).hold?.reason ?? options.guestFiles.get(vmid)?.held ?? null;
  const driver: Driver = {
    ports: {
      pve,
      journal: options.journal,
      lanes: options.lanes,
      helper: options.helper,
      alerts,
      generations: { raise: raiseSafely },
    },
    jobs,
    gates,
    clock,
    config,
    policyOf: (job) => policyOf(policies(job.vmid), job.storage),
    guestName,
    leaveDown: (vmid) =>
      held(vmid) ?? (options.guestFiles.get(vmid)?.desired?.state === 'stopped' ? 'declared stopped' : null),
    lastRequestMs: (vmid) => heard.get(vmid) ?? null,
    hookWord: (jobId) => hook.word(jobId),
    writing: new Map(),
    stop,
    log,
  };
  const launch = (jobId: string): void => {
    if (driven.has(jobId) || stop.aborted) return;
    const run = runJob(driver, jobId)
      .catch((error: unknown) =>
        options.log('a job stopped being driven', {
          job: jobId,
          error: error instanceof Error ? error.message : String(error),
        }),
      )
      .finally(() => driven.delete(jobId));
    driven.set(jobId, run);
  };
  const common = { driver, newId: options.newId, hostBootId: options.hostBootId, launch };
  const service = createBackupService({
    ...common,
    chooseGate: () => options.gateKind(),
    policies: (vmid) => policies(vmid),
    hasController,
    mostOverdue: (vmid) => due.mostOverdue(vmid),
    dueNow: (vmid) => due.verdict(vmid),
  });
  const hook = createHookGate({ ...common, knows: (vmid) => knownVmids().includes(vmid) });
  const due = createDueService({
    pve,
    jobs,
    guests,
    clock,
    policies,
    guestName,
    held,
    backoffMs: config.bounds.backoff,
    cacheMs: config.bounds.storage_cache,
    log,
  });

  async function raiseSafely(vmid: number): Promise<void> {
    await guests
      .raise(vmid)
      .catch((error: unknown) => options.log('a raised generation is not on disk', { vmid, error: String(error) }));
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
    metricsText({
      jobs: jobs.all(),
      alerts: alerts.list().length,
      requests,
      calling: knownVmids().map((vmid) => ({ vmid, calling: calling(vmid) })),
      lastPass: options.lastPass?.() ?? null,
    });

  const api: GuestApi = {
    jobs,
    service,
    due,
    guests,
    clock,
    config,
    stop,
    metrics,
    movedTo: async (vmid) => await places.movedTo(vmid),
    heard: (vmid) => {
      heard.set(vmid, clock.monotonicMs());
      requests.set(vmid, (requests.get(vmid) ?? 0) + 1);
    },
    refusedAlert: (vmid, reason) => {
      if (reason === null) return alerts.clear(`refused:${vmid}`);
      const what = reason === 'restored_copy' ? 'a restored copy of it calls' : 'two guests take turns as it';
      alerts.raise({
        key: `refused:${vmid}`,
        vmid,
        message: `guest ${vmid}: ${what}; it is refused`,
        hint: `If it is the guest from now on: felhom-agent guest adopt ${vmid}`,
      });
    },
    log,
  };

  return {
    jobs,
    service,
    due,
    hook,
    guests,
    alerts,
    pve,
    api,
    stop,
    knownVmids,
    policies,
    guestName,
    metrics,
    held,
    guestNow: async (vmid) => await places.now(vmid),
    isCalling: calling,
    recover: async () => {
      // Not waited for: a hook that calls now must find us listening, whatever PVE is doing.
      void places
        .refresh()
        .catch((error: unknown) => options.log('the guests of the node cannot be listed', { error: String(error) }));
      for (const job of jobs.all()) {
        if (!isUnsettled(job)) continue;
        if (job.host_boot_id !== options.hostBootId)
          await endByReboot(jobs, job).catch((error: unknown) =>
            log('a job that a reboot ended is not on record', { job: job.job_id, error: String(error) }),
          );
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
