import type { JobStatus } from '@felhom/guest-api/schema.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import { loadExistingConfig, locateConfig } from '../config.ts';
import { completeRuns } from '../history/complete-runs.ts';
import { openAgent, openHistory } from '../wiring.ts';
import type { CommandContext } from './context.ts';
import { jobWords } from './run-backup.ts';

/** `backup status [job]` */
export async function backupStatus(context: CommandContext, job: string | undefined): Promise<void> {
  const { config } = await loadExistingConfig(locateConfig(context.flags, context.env));
  const history = openHistory(config);
  const jobId = job ?? (await latestJob(history));
  const agent = await openAgent(config, (text) => context.reporter.say(`warning: ${text}`));
  try {
    const status = await agent.status(jobId);
    await completeRuns(history, agent, (text) => context.reporter.say(`warning: ${text}`));
    context.reporter.result({ schema: 'felhom.job/1', ...status }, () => statusText(status));
  } finally {
    await agent.close();
  }
}

async function latestJob(history: ReturnType<typeof openHistory>): Promise<string> {
  for (const { run, result } of await history.list(20)) {
    const jobId = result?.job_id ?? run.jobId;
    if (jobId !== null) return jobId;
  }
  throw new Failure('not_found', {
    message: 'no run of this guest has had a job yet',
    hint: 'Take a backup: felhom-controller backup now. Or name a job of the host: felhom-controller backup status JOB',
  });
}

function statusText(status: JobStatus): string {
  const lines = [`job ${status.job_id}: ${jobWords(status)}`];
  const where =
    status.storage === null
      ? null
      : `${status.storage}${status.storage_type === null ? '' : ` (${status.storage_type})`}`;
  const rows: [string, string | null][] = [
    ['asked for by', status.origin],
    ['mode', status.mode],
    ['storage', where],
    ['proof', status.proof],
    ['not app-consistent', status.degraded],
    ['task', status.upid],
    ['error', status.error === null ? null : `${status.error.message} (${status.error.hint})`],
  ];
  for (const [label, text] of rows) if (text !== null) lines.push(`  ${label.padEnd(19)}${text}`);
  for (const { mount, why } of status.excluded) lines.push(`  ${'not in the backup'.padEnd(19)}${mount} (${why})`);
  if (status.volid !== null) lines.push(`  ${status.volid}`);
  return lines.join('\n');
}
