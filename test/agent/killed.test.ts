import { randomUUID } from 'node:crypto';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import { AgentError } from '@felhom/guest-api/agent-api.ts';
import type { JobStatus } from '@felhom/guest-api/schema.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { type Host, openHost } from './host.ts';
import { goodReport, isOver, orderFault, until } from './rig.ts';

let host: Host | undefined;
afterEach(async () => {
  await host?.close();
  host = undefined;
});

/** Follows as a controller does: a poll that fails is unknown, and tried again. */
async function patientUntil(
  client: AgentApi,
  jobId: string,
  enough: (status: JobStatus) => boolean,
): Promise<JobStatus> {
  let after: number | undefined;
  return await until(
    `job ${jobId}`,
    async () => {
      try {
        const status = await client.status(jobId, { waitSeconds: 1, ...(after === undefined ? {} : { after }) });
        if (enough(status)) return status;
        after = status.seq;
        return undefined;
      } catch (error) {
        if (error instanceof AgentError && error.outcomeUnknown) return undefined;
        throw error;
      }
    },
    25_000,
  );
}

async function backups(of: Host): Promise<{ grade: string; volid: string }[]> {
  const { json } = await of.run('backup', 'list', '101', '--json');
  return (json as { backups: { grade: string; volid: string }[] }).backups;
}

async function begin(options: Parameters<typeof openHost>[0]): Promise<{ client: AgentApi; jobId: string; of: Host }> {
  const of = await openHost(options);
  host = of;
  const token = await of.adopt(101);
  await of.serve();
  const client = await of.client(token);
  const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
  return { client, jobId, of };
}

describe.each(['hook', 'log'] as const)('an agent killed in the %s gate', (gate) => {
  it('while the gate is open goes on with it, and the backup is whole and one', async () => {
    const { client, jobId, of } = await begin({ gate });
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    await of.kill();
    await of.serve();
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    const over = await patientUntil(client, jobId, isOver);
    expect(over).toMatchObject({ phase: 'done', degraded: null });
    await client.report(jobId, goodReport('r'));
    await until('graded', async () => (await backups(of))[0]?.grade === 'app-consistent');
    expect(await backups(of)).toHaveLength(1);
  });

  it('as soon as the apps were reported down reads the proof from the log', async () => {
    const { client, jobId, of } = await begin({ gate });
    await orderFault(of.node.sim, { fault: 'slow_archive', vmid: 101, ms: 1_500 });
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    await of.kill();
    await of.serve();
    const proven = await patientUntil(client, jobId, (status) => status.phase === 'snapshotted' || isOver(status));
    if (proven.phase !== 'failed') expect(proven.proof).not.toBeNull();
    const over = await patientUntil(client, jobId, isOver);
    // Killed between the durable intent and the POST nothing was started, and it says so; else there is one backup.
    expect(await backups(of)).toHaveLength(over.phase === 'done' ? 1 : 0);
  });

  it('after the proof follows the task to its end', async () => {
    const { client, jobId, of } = await begin({ gate });
    await orderFault(of.node.sim, { fault: 'slow_archive', vmid: 101, ms: 2_000 });
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    await patientUntil(client, jobId, (status) => status.phase === 'snapshotted');
    await of.kill();
    await of.serve();
    const over = await patientUntil(client, jobId, isOver);
    expect(over).toMatchObject({ phase: 'done', error: null });
    expect(await backups(of)).toHaveLength(1);
  });

  it('while its POST is unanswered never posts again', async () => {
    const { client, jobId, of } = await begin({ gate: 'log' });
    await orderFault(of.node.sim, { fault: 'hang', method: 'POST', path: '/vzdump' });
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    await of.kill();
    of.node.sim.faults.clear();
    await of.serve();
    const over = await patientUntil(client, jobId, isOver);
    const made = await backups(of);
    expect(made).toHaveLength(over.phase === 'done' ? 1 : 0);
    expect(over.phase === 'failed' ? over.error?.message : 'never started').toContain('never started');
  });
});

describe('serve', () => {
  it('ends 0 on SIGTERM with a job under way, and the next one takes it up', async () => {
    const { client, jobId, of } = await begin({ gate: 'hook' });
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    expect(await of.terminate()).toBe(0);
    await of.serve();
    await patientUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    expect(await patientUntil(client, jobId, isOver)).toMatchObject({ phase: 'done' });
  });

  it('started twice on one state folder refuses the second', async () => {
    host = await openHost();
    await host.serve();
    const second = await host.run('serve');
    expect(second.code).toBe(11);
    expect(second.stderr).toContain('state folder');
  });
});
