import type { Log } from '@felhom/cli/log.ts';
import type { ServiceNotifier } from '@felhom/cli/service-notify.ts';
import { openJournal } from '@felhom/durable/journal.ts';
import { acquireRunLock, processStartTime } from '@felhom/durable/run-lock.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { chooseGate } from './backup/gate-kind.ts';
import { createHypervisor } from './backup/hypervisor.ts';
import { compactRecords, jobRecord } from './backup/job.ts';
import { socketRootHelper } from './backup/root-helper.ts';
import { leavingBrokenAlone } from './desired/broken.ts';
import { hostBootId, newId } from './identity.ts';
import { fileLanes } from './lanes/lanes.ts';
import type { Loaded } from './load-config.ts';
import { openClient } from './open-client.ts';
import { startOperationsWatch } from './operations/wiring.ts';
import { becomeOwnerOf } from './own-state.ts';
import { type ReconcileInServe, startReconcile } from './reconcile/in-serve.ts';
import { systemNotifier } from './reconcile/wiring.ts';
import { openAlerts } from './serve/alerts.ts';
import { type AgentApp, createAgentApp } from './serve/app.ts';
import { adoptionIn, openGuestsState } from './serve/guests-state.ts';
import { type Serving, serve } from './serve/serve.ts';
import { ensureCertificate } from './serve/tls.ts';
import { alertsFile, guestsFile, journalPath, lanesFolder, serveLockPath, servingFile } from './state-files.ts';

/** The one place of the agent that opens real adapters. */

export interface RunningAgent {
  app: AgentApp;
  /** null where reconcile is off. */
  reconcile: ReconcileInServe | null;
  notifier: ServiceNotifier;
  serving: Serving;
  /** Ends everything. Jobs under way stay in the journal and are taken up by the next start. */
  stop(): Promise<void>;
}

/**
 * Starts `serve`.
 * @throws Failure `busy` when another one has this state folder.
 */
export async function startAgent(
  { config, guests, problems }: Loaded,
  { log, onFatal }: { log: Log; onFatal: (failure: Failure) => void },
): Promise<RunningAgent> {
  const lock = await takeServeLock(config.state);
  const guestFiles = leavingBrokenAlone(guests, problems);
  const stop = new AbortController();
  const closers: (() => Promise<void>)[] = [async () => await lock.release()];
  let reconcile: ReconcileInServe | null = null;
  try {
    const certificate = await ensureCertificate(config.state, systemCommands);
    const journal = await openJournal({
      path: journalPath(config.state),
      schema: jobRecord,
      keep: (records) => compactRecords(records, config.limits.keys),
      compactAboveBytes: config.limits.journal,
      onFatal,
      onTrouble: (error) => log.warn(`the journal was not compacted: ${String(error)}`),
    });
    closers.push(async () => await journal.close());
    for (const problem of journal.problems) log.warn(problem);
    await journal.compact().catch((error: unknown) => log.warn(`the journal was not compacted: ${String(error)}`));
    const client = await openClient(config);
    closers.push(async () => await client.close());
    const fromPolicies = (): { vmid: number; sha256: string }[] =>
      [...guestFiles.values()].flatMap(({ vmid, token_sha256: sha256 }) =>
        sha256 === undefined ? [] : [{ vmid, sha256 }],
      );
    for (const { message, about } of problems)
      log.warn(about === 'source' ? message : `a guest's file is not understood, and its guest left alone: ${message}`);
    const app = createAgentApp({
      config,
      guestFiles,
      pve: createHypervisor(client),
      journal,
      records: journal.records(),
      lanes: fileLanes(lanesFolder(config.state), 'backup'),
      helper: socketRootHelper(config.root_helper),
      alerts: await openAlerts(alertsFile(config.state), systemClock, (message) => log.warn(message)),
      guests: await openGuestsState(guestsFile(config.state), fromPolicies),
      clock: systemClock,
      newId,
      hostBootId: await hostBootId(),
      gateKind: () => chooseGate(config),
      lastPass: () => reconcile?.last() ?? null,
      stop: stop.signal,
      log: (message, fields) => log.info(message, fields),
    });
    await app.recover();
    const operations = await startOperationsWatch(config, {
      adoption: adoptionIn(app.guests),
      log,
      stop: stop.signal,
    });
    closers.push(async () => await operations.idle());
    const recorded = await servingFile(config.state).read();
    const serving = await serve(app, config, {
      certificate,
      lastPort: recorded.kind === 'present' ? recorded.value.port : null,
    });
    const { url, port, fingerprint } = serving;
    await servingFile(config.state)
      .write({ url, port, fingerprint, node: client.node })
      .catch((error: unknown) => log.warn(`where we serve is not on record: ${String(error)}`));
    closers.push(async () => await serving.close());
    reconcile = await startReconcile(config, app, { log, onFatal, stop: stop.signal });
    closers.push(async () => await reconcile?.end());
    return {
      app,
      reconcile,
      notifier: systemNotifier(log),
      serving,
      stop: async () => {
        stop.abort();
        await app.idle();
        for (const close of closers.toReversed()) await close();
      },
    };
  } catch (error) {
    stop.abort();
    for (const close of closers.toReversed()) await close();
    throw error;
  }
}

/** One agent per state folder. Whoever takes it writes there: root becomes the folder's owner first (own-state.ts). */
export async function takeServeLock(stateDir: string): Promise<{ release(): Promise<void> }> {
  await becomeOwnerOf(stateDir);
  const startTime = (await processStartTime(process.pid)) ?? '';
  const acquired = await acquireRunLock(serveLockPath(stateDir), { pid: process.pid, startTime, purpose: 'serve' });
  if (acquired.kind === 'held-by-us') return acquired.lock;
  const who = acquired.holder === null ? 'another process' : `process ${acquired.holder.pid}`;
  throw new Failure('busy', {
    message: `${who} uses the state folder ${stateDir}; nothing was started, guests keep running`,
    hint: 'Stop that felhom-agent serve first: systemctl stop felhom-agent',
  });
}
