import { isOpen, type Job, type JobRecord, jobMachine } from 'felhom-agent/backup/job.ts';
import { simulatedToken } from './agent-life.ts';
import type { AgentWorld } from './agent-world.ts';
import type { Doom } from './doom.ts';

/** Whether a job has ended and owes nothing. */
export function isQuiet(job: Job): boolean {
  return !isOpen(job) && job.notes !== 'owed' && job.guest_owed !== 'owed';
}

/** What was broken, in words. */
export function judge(world: AgentWorld): string[] {
  const found = [...world.node.violations, ...world.guest.broken()];
  const jobs = world.jobs();
  for (const job of jobs) found.push(...brokenJob(world, job));
  for (const { volid, notes, appsDown } of world.node.archives) {
    if (/^felhom\/1 \S+ app-consistent/.test(notes) && !appsDown)
      found.push('an archive is called app-consistent although an app ran at its point in time');
    if (/^felhom\/1 \S+ pending/.test(notes)) found.push('the notes of an archive are still pending');
    if (jobs.some((job) => job.volid === volid && job.phase === 'done') && !notes.startsWith('felhom/1 '))
      found.push(`the notes of ${volid} do not say whose it is`);
  }
  if (new Set(world.node.archives.map(({ volid }) => volid)).size < world.node.archives.length)
    found.push('an archive was overwritten');
  const told = [world.records, [...world.alerts.values()], world.node.archives];
  if (JSON.stringify(told).includes(simulatedToken)) found.push('a token stands in the journal, an alert or notes');
  if (!world.node.guest.running) found.push('the guest is down');
  if (world.node.guest.lock !== null) found.push('the guest is locked');
  if (!world.node.isIdle()) found.push('a task still runs');
  return found;
}

function brokenJob(world: AgentWorld, job: Job): string[] {
  const found: string[] = [];
  if (!isQuiet(job))
    found.push(`job ${job.job_id} is not settled: ${job.phase}, notes ${job.notes}, guest ${job.guest_owed}`);
  const walk = world.records.flatMap((record) => {
    if (record.kind === 'opened') return record.job.job_id === job.job_id ? [record.job.phase] : [];
    return record.job_id === job.job_id && record.set.phase !== undefined ? [record.set.phase] : [];
  });
  if (!jobMachine.isLegalWalk(walk)) found.push(`the phases of ${job.job_id} are no legal walk: ${walk.join(' ')}`);
  const reboot = 'the host was restarted while the backup ran';
  const isOfEarlierBoot = job.host_boot_id !== world.bootId && Date.parse(job.ended_at ?? '') > world.rebootedAtMs;
  if (isOfEarlierBoot && (job.phase !== 'failed' || job.error?.message !== reboot))
    found.push(`job ${job.job_id} outlived the host: ${job.phase} ${job.error?.message ?? ''}`);
  const endedAtGate = job.phase === 'cancelled' || (job.phase === 'failed' && job.degraded?.startsWith('gate_closed'));
  // A hook that found nobody, or waited in vain for one, goes on by itself.
  const alone = world.history.some((line) => /hook pre-stop: nobody answered|the hook goes on by itself/.test(line));
  if (endedAtGate === true && !alone && world.node.archives.length > 0)
    found.push(`the backup of ${job.job_id} was made although it was ended at its gate`);
  if (job.phase !== 'done') return found;
  const archive = world.node.archives.find((each) => each.volid === job.volid);
  if (archive === undefined) return [...found, `${job.job_id} is done and names no archive that is there`];
  const held = job.degraded === null && job.report?.grade === 'app-consistent';
  const line = `felhom/1 ${job.job_id} ${held ? 'app-consistent' : 'crash-consistent'} full\n`;
  if (!archive.notes.startsWith(line))
    found.push(`the notes of ${job.job_id} are not what it came to: ${archive.notes}`);
  return found;
}

/** What is wrong with this POST, or null. */
export function wrongPost(world: AgentWorld, mark: string): string | null {
  const job = world.jobs().find((each) => mark === `felhom/1 ${each.job_id} pending`);
  if (job === undefined) return `a POST of no job: ${mark}`;
  if (job.intent_at === null) return `the POST of ${job.job_id} came before its intent was durable`;
  if (job.host_boot_id !== world.bootId) return `the POST of ${job.job_id}, a job of an earlier boot`;
  const holds = world.lanes.has('guest-101') && world.lanes.has('slot');
  return holds ? null : `the POST of ${job.job_id} came without its lanes`;
}

/** From `ready` on a job of ours holds its guest's lane: what is wrong with a record that takes it further, or null. */
export function wrongLane(world: AgentWorld, record: JobRecord, life: Doom): string | null {
  if (record.kind === 'opened' || record.set.phase === undefined) return null;
  if (!['ready', 'capturing', 'snapshotted'].includes(record.set.phase)) return null;
  const job = world.jobs().find((each) => each.job_id === record.job_id);
  if (job === undefined || job.origin === 'pve' || world.lanes.get('guest-101') === life) return null;
  return `${record.job_id} became ${record.set.phase} without its guest's lane`;
}
