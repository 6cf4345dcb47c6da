import type { Log } from '@felhom/cli/log.ts';
import { type ServiceNotifier, serviceNotifier } from '@felhom/cli/service-notify.ts';
import { openSharedJournal } from '@felhom/durable/shared-journal.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import type { Failure } from '@felhom/kernel/failure.ts';
import { openJobsIn } from '../backup/open-jobs.ts';
import type { AgentConfig } from '../config.ts';
import { readHolds } from '../desired/holds.ts';
import { declaredIn } from '../desired/wiring.ts';
import { hostBootId, newId } from '../identity.ts';
import { fileLanes } from '../lanes/lanes.ts';
import { openClient } from '../open-client.ts';
import { becomeOwnerOf } from '../own-state.ts';
import { actionsPath, guestsFile, journalPath, lanesFolder, lastPassFile } from '../state-files.ts';
import { actionJournal } from './action-journal.ts';
import { actionRecord, keepActions } from './action-record.ts';
import { changeHint } from './change-hint.ts';
import { lockedSince } from './last-pass.ts';
import type { Desired } from './model.ts';
import { observe } from './observe.ts';
import type { PassMemory, ReconcileLimits, ReconcilePorts } from './ports.ts';
import { versionListIn } from './version-list.ts';

/** The real ports of reconcile, and what lets go of them. */
export interface OpenReconcile {
  ports: ReconcilePorts;
  limits: ReconcileLimits;
  /** The service manager, where one asked to be told. */
  notifier: ServiceNotifier;
  /** Takes damaged parts out of the journal, into a file beside it. Answers what was damaged, one sentence each. */
  setDamageAside(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Throws Failure `state_unwritable` where the journal cannot be opened: then nothing may be done. */
export async function openReconcile(
  config: AgentConfig,
  { log, onFatal }: { log: Log; onFatal: (failure: Failure) => void },
): Promise<OpenReconcile> {
  await becomeOwnerOf(config.state);
  const bootId = await hostBootId();
  const journal = await openSharedJournal({
    path: actionsPath(config.state),
    schema: actionRecord,
    keep: (records) => keepActions(records, config.limits.actions_kept),
    onFatal,
  });
  for (const problem of journal.problems) log.warn(problem);
  const client = await openClient(config);
  const ports: ReconcilePorts = {
    pve: client,
    desired: declaredIn(config, 'pass'),
    changes: changeHint({
      node: client.node,
      readList: versionListIn(config.cluster_files, systemClock),
      clock: systemClock,
      fullReadMs: config.bounds.full_read,
    }),
    journal: actionJournal(journal, { nowMs: systemClock.nowMs, upMs: hostUpMs }),
    lanes: fileLanes(lanesFolder(config.state), 'reconcile'),
    openJobs: openJobsIn(journalPath(config.state), bootId),
    heldNow: async (vmid) => (await readHolds(guestsFile(config.state))).get(vmid) ?? null,
    memory: passMemory(config.state, log),
    clock: systemClock,
    newId,
    process: { pid: process.pid, bootId, upMs: hostUpMs },
    log: (message, fields) => log.info(message, fields),
  };
  return {
    ports,
    limits: limitsOf(config),
    notifier: systemNotifier(log),
    setDamageAside: async () => {
      const problems = [...journal.problems];
      if (problems.length > 0) await journal.compact();
      return problems;
    },
    close: async () => {
      await client.close();
      await journal.close();
    },
  };
}

/** Of CLOCK_MONOTONIC, which is one for all processes since the boot. */
function hostUpMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

/** What `plan` needs: the declaration, and one look at the node. Nothing is locked and nothing is written. */
export async function openPlanning(config: AgentConfig) {
  const client = await openClient(config);
  const openJobs = openJobsIn(journalPath(config.state), await hostBootId());
  return {
    desired: declaredIn(config, 'look'),
    look: async ({ guests }: Desired) => {
      const nowMs = systemClock.nowMs();
      const before = await lastPassFile(config.state).read();
      const actual = await observe(client, guests, {
        nowMs,
        reads: config.limits.config_reads,
        lockedSinceMs: lockedSince(before.kind === 'present' ? before.value : null),
      });
      return { actual, openJobs: await openJobs(), nowMs };
    },
    close: async () => await client.close(),
  };
}

/** What tells systemd that we live; nothing where it did not ask. */
export function systemNotifier(log: Log): ServiceNotifier {
  const given = { env: process.env, pid: process.pid, commands: systemCommands, clock: systemClock };
  return serviceNotifier({ ...given, warn: (message) => log.warn(message) });
}

function limitsOf({ bounds, limits }: AgentConfig): ReconcileLimits {
  return {
    lockPollMs: bounds.lock_poll,
    stuckMs: bounds.stuck,
    shutdownMs: bounds.shutdown,
    taskWaitMs: bounds.task_wait,
    taskPollMs: bounds.task_poll,
    lostStartMs: bounds.lost_start,
    stopGraceMs: bounds.stop_grace,
    mutations: limits.mutations,
    configReads: limits.config_reads,
  };
}

/** A record that cannot be read costs the age of locks: it is told, and written anew. */
function passMemory(stateDir: string, log: Log): PassMemory {
  const file = lastPassFile(stateDir);
  return {
    read: async () => {
      const found = await file.read();
      if (found.kind === 'present') return found.value;
      if (found.kind !== 'absent') log.warn('the record of the last pass cannot be read; it is written anew');
      return null;
    },
    write: async (pass) => await file.write(pass),
  };
}
