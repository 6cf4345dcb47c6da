import { parseRetention } from '../storage/retention.ts';
import { backupGuest, messageOf } from './backup-guest.ts';
import { hook, type JobSetup, pace } from './backup-task.ts';
import type { VzdumpOptions } from './job.ts';
import { takeNodeLock } from './node-lock.ts';
import { wait } from './programs.ts';
import { readVzdumpConf, resolveOptions } from './vzdump-options.ts';
import type { Worker } from './worker.ts';

/** Runs a whole vzdump task in this process and writes its end. */
export async function runJob(worker: Worker): Promise<void> {
  const { job, tasks } = worker;
  try {
    await wait(job.postedAtMs + job.delays.workerStartMs - Date.now(), worker.signal);
    await worker.mayDie('start');
    const setup = await setUp(worker);
    const lock = await takeNodeLock(job.state, worker.faults, {
      lockwaitMinutes: setup.options.lockwaitMinutes,
      log: worker.log,
      signal: worker.signal,
    });
    if (lock === null) {
      tasks.finish(job.upid, 'unexpected status'); // the worker exits with -1 (API2/VZDump.pm)
      return;
    }
    try {
      await runGuests(setup);
    } finally {
      lock.release();
    }
    tasks.finish(job.upid, worker.log.warnings() > 0 ? `WARNINGS: ${worker.log.warnings()}` : 'OK');
  } catch (error) {
    tasks.finish(job.upid, messageOf(error));
  }
}

/** `job-init` and the storage; every problem found is told at once, as the task's exit status. */
async function setUp(worker: Worker): Promise<JobSetup> {
  const { job, faults } = worker;
  const options = resolveOptions(job);
  const storage = job.storages.find((candidate) => candidate.id === options.storage);
  const problems: string[] = [];
  const placeholder = storage ?? { id: options.storage, dir: job.state };
  const began = performance.now();
  const setup: JobSetup = {
    worker,
    options,
    storage: placeholder,
    retention: retentionOf(worker, options, placeholder.prune),
  };
  try {
    await hook(setup, 'job-init', null, worker.signal);
  } catch (error) {
    problems.push(messageOf(error));
  }
  await pace(setup, began, job.delays.jobStartMs);
  if (storage === undefined) {
    const gone = `storage '${options.storage}' does not exist`;
    problems.push(
      `could not activate storage '${options.storage}': ${gone}`,
      `could not get storage information for '${options.storage}': ${gone}`,
    );
  } else if (
    storage.active === false ||
    faults.peek('storage_inactive', (fault) => fault.storage === storage.id) !== null
  ) {
    problems.push(`could not activate storage '${storage.id}': storage '${storage.id}' is not online`);
  } else if (!(storage.content ?? 'backup').split(',').includes('backup')) {
    problems.push(
      `could not get storage information for '${storage.id}': can't use storage '${storage.id}' for backups - wrong content type`,
    );
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return setup;
}

async function runGuests(setup: JobSetup): Promise<void> {
  const { worker } = setup;
  const { job, log } = worker;
  log.info(`starting new backup job: ${job.cmdline}`);
  let failed = 0;
  let fatal: string | null = null;
  try {
    const vmids = [...job.vmids].toSorted((a, b) => a - b);
    const forbidden = vmids.filter((vmid) => job.forbidden.includes(vmid));
    if (forbidden[0] !== undefined && !job.all)
      throw new Error(`Permission check failed (/vms/${forbidden[0]}, VM.Backup)`);
    await hook(setup, 'job-start', null, worker.signal);
    for (const vmid of vmids.filter((candidate) => !forbidden.includes(candidate))) {
      if (!(await backupGuest(setup, vmid))) failed += 1;
    }
    await hook(setup, 'job-end', null);
  } catch (error) {
    fatal = messageOf(error);
    await abortHook(setup);
  }
  if (fatal !== null) {
    log.error(`Backup job failed - ${fatal}`);
    throw new Error(fatal);
  }
  log.info(failed > 0 ? 'Backup job finished with errors' : 'Backup job finished successfully');
  if (failed > 0) throw new Error('job errors');
}

async function abortHook(setup: JobSetup): Promise<void> {
  try {
    await hook(setup, 'job-abort', null);
  } catch (error) {
    setup.worker.log.bare(messageOf(error));
  }
}

/** The caller's retention, else the storage's, else the node's, else everything is kept. */
function retentionOf(worker: Worker, options: VzdumpOptions, ofStorage: string | undefined): JobSetup['retention'] {
  const text = options.prune ?? ofStorage ?? readVzdumpConf(worker.job.confFile)['prune-backups'] ?? 'keep-all=1';
  const parsed = parseRetention(text);
  return parsed.kind === 'retention' ? parsed.retention : { 'keep-all': 1 };
}
