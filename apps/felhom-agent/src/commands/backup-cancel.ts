import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { isTerminal, jobSchema } from '../backup/job.ts';
import { loadAgentConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';
import { askServe } from './host-client.ts';

/** `backup cancel VMID`: ends the guest's job. */
export async function backupCancel(context: CommandContext, vmid: number, force: boolean): Promise<void> {
  const { config } = await loadAgentConfig(context.flags.config);
  const { jobs } = await askServe(config.socket, {
    method: 'GET',
    path: '/host/jobs',
    answer: z.object({ jobs: z.array(jobSchema) }),
  });
  const job = jobs.findLast((each) => each.vmid === vmid && !isTerminal(each));
  if (job === undefined)
    throw new Failure('not_found', {
      message: `no backup of guest ${vmid} is under way`,
      hint: 'felhom-agent backup status',
    });
  const path = `/host/backup/${job.job_id}${force ? '?force=1' : ''}`;
  const { phase } = await askServe(config.socket, {
    method: 'DELETE',
    path,
    answer: z.object({ phase: z.string() }),
    timeoutMs: 60_000,
  });
  context.reporter.result(
    { schema: 'felhom.cancel/1', vmid, job_id: job.job_id, phase } as const,
    () => `guest ${vmid}: ${phase}; its apps are started again by its controller`,
  );
}
