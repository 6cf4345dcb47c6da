import { jobMachine } from 'felhom-agent/backup/job.ts';
import type { AgentWorld } from './agent-world.ts';

type ReplayedJob = ReturnType<AgentWorld['jobs']>[number];

/** Whether a job has ended and owes nothing. */
export function isQuiet(job: ReplayedJob): boolean {
  const over = ['done', 'failed', 'cancelled'].includes(job.phase);
  const ended = job.task_ended || (job.intent_at === null && job.upid === null && job.origin !== 'pve');
  return over && ended && job.notes !== 'owed' && job.guest_owed !== 'owed';
}

/** What was broken, in words. */
export function judge(world: AgentWorld): string[] {
  const found = [...world.node.violations];
  for (const job of world.jobs()) {
    if (!isQuiet(job))
      found.push(`job ${job.job_id} is not settled: ${job.phase}, notes ${job.notes}, guest ${job.guest_owed}`);
    const walk = world.records.flatMap((record) => {
      if (record.kind === 'opened') return record.job.job_id === job.job_id ? [record.job.phase] : [];
      return record.job_id === job.job_id && record.set.phase !== undefined ? [record.set.phase] : [];
    });
    if (!jobMachine.isLegalWalk(walk)) found.push(`the phases of ${job.job_id} are no legal walk: ${walk.join(' ')}`);
    if (job.phase === 'done' && job.volid !== null && !world.node.archives.some((each) => each.volid === job.volid))
      found.push(`${job.job_id} names an archive that is not there`);
  }
  for (const { notes, appsDown } of world.node.archives) {
    if (/^felhom\/1 \S+ app-consistent/.test(notes) && !appsDown)
      found.push('an archive is called app-consistent although an app ran at its point in time');
    if (/^felhom\/1 \S+ pending/.test(notes)) found.push('the notes of an archive are still pending');
  }
  if (!world.apps.up) found.push('the apps are down');
  if (!world.node.guest.running) found.push('the guest is down');
  if (world.node.guest.lock !== null) found.push('the guest is locked');
  if (!world.node.isIdle()) found.push('a task still runs');
  return found;
}
