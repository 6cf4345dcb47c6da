import { randomUUID } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '@felhom/guest-api/agent-api.ts';
import { hashToken, newToken } from 'felhom-agent/serve/auth.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { must } from '../lab/process.ts';
import { followUntil, goodReport, isOver, openRig, type Rig, until } from './rig.ts';

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

describe('a Proxmox VE that does not behave', () => {
  it.each([
    ['is down', { fault: 'daemon_down', times: 0 }],
    ['answers with a web page', { fault: 'html', times: 0 }],
    ['answers half a JSON', { fault: 'truncated_json', times: 0 }],
    ['refuses the token', { fault: 'unauthorized', times: 0 }],
  ])('gives a clear failure with nothing started when it %s', async (_, order) => {
    rig = await openRig();
    const client = rig.client();
    await client.restoreTest();
    await rig.fault(order);
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    const over = await followUntil(client, jobId, isOver);
    expect(over).toMatchObject({ phase: 'failed', upid: null });
    expect(over.error?.message).toContain('the apps keep running');
    expect(await client.due()).toMatchObject({ due: false });
  });

  it('keeps a job alive through polls that fail', async () => {
    rig = await openRig();
    const client = rig.client();
    await rig.fault({ fault: 'slow_archive', vmid: 101, ms: 800 });
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    await rig.fault({ fault: 'daemon_down', method: 'GET', path: '/tasks/', times: 6 });
    await client.quiesced(jobId);
    expect(await followUntil(client, jobId, isOver)).toMatchObject({ phase: 'done', error: null });
  });

  it('says where a guest went: 421 with the node', async () => {
    rig = await openRig();
    const token = newToken();
    await rig.agent.app.guests.set(104, { token_sha256: hashToken(token) });
    await rig.fault({
      fault: 'lie',
      path: '/cluster/resources',
      times: 0,
      data: [{ type: 'lxc', id: 'lxc/104', vmid: 104, node: 'pve2', name: 'moved', status: 'running' }],
    });
    await expect(rig.client({ token }).due()).rejects.toMatchObject({ kind: 'moved', status: 421, node: 'pve2' });
  });
});

describe('a worker that dies', () => {
  it.each(['snapshot', 'archive'] as const)('at %s fails the job, and the guest is told', async (at) => {
    rig = await openRig();
    const client = rig.client();
    await rig.fault({ fault: 'kill_worker', vmid: 101, at });
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    expect(await followUntil(client, jobId, isOver)).toMatchObject({
      phase: 'failed',
      error: { code: 'backup_failed', message: expect.stringContaining('unexpected status') },
    });
  });
});

describe('a full disk', () => {
  it('refuses new jobs with nothing started, lets a gate that is open go on, and works again with room', async () => {
    const full = await fullDisk();
    try {
      rig = await openRig({ agent: { state: full.folder } });
      const client = rig.client();
      const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
      await followUntil(client, jobId, (status) => status.phase === 'ready');
      await full.fill();
      await useUpPage(rig, jobId);
      expect(await client.quiesced(jobId)).toMatchObject({ phase: 'capturing' });
      expect(await followUntil(client, jobId, isOver)).toMatchObject({ phase: 'done' });
      const host = rig;
      await until('its job is settled', () => {
        const job = host.agent.app.jobs.get(jobId);
        return job?.task_ended === true && job.notes !== 'owed' && job.guest_owed !== 'owed';
      });
      await host.agent.app.idle();
      // What the job held on the disk gave pages back.
      await full.fill();
      await useUpPage(rig, jobId);
      await full.fill();
      const refused = client.start({ run_id: 's' }, { idempotencyKey: randomUUID() });
      await expect(refused).rejects.toBeInstanceOf(AgentError);
      await expect(refused).rejects.toMatchObject({ status: 507 });
      expect(rig.agent.app.jobs.all()).toHaveLength(1);
      await full.empty();
      const again = await client.start({ run_id: 't' }, { idempotencyKey: randomUUID() });
      await followUntil(client, again.job_id, (status) => status.phase === 'ready');
      await client.quiesced(again.job_id);
      expect(await followUntil(client, again.job_id, isOver)).toMatchObject({ phase: 'done' });
    } finally {
      await rig?.close();
      rig = undefined;
      await full.unmount();
    }
  });

  it('posts nothing in the log gate when the intent cannot be written', async () => {
    const full = await fullDisk();
    try {
      rig = await openRig({ gate: 'log', agent: { state: full.folder } });
      const client = rig.client();
      const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
      await followUntil(client, jobId, (status) => status.phase === 'ready');
      await full.fill();
      await useUpPage(rig, jobId);
      await expect(client.quiesced(jobId)).rejects.toMatchObject({ status: 507 });
      expect(await followUntil(client, jobId, isOver)).toMatchObject({
        phase: 'failed',
        upid: null,
        error: { code: 'state_unwritable' },
      });
      expect(await rig.agent.app.pve.tasks({ vmid: 101, source: 'all' })).toEqual([]);
    } finally {
      await rig?.close();
      rig = undefined;
      await full.unmount();
    }
  });
});

describe('secrets', () => {
  it('are in nothing that the agent keeps or answers', async () => {
    rig = await openRig();
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    const over = await followUntil(client, jobId, isOver);
    await client.report(jobId, goodReport('r'));
    const files = await readdir(join(rig.folder, 'state'), { recursive: true, withFileTypes: true });
    const kept = await Promise.all(
      files
        .filter((file) => file.isFile())
        .map(async (file) => await readFile(join(file.parentPath, file.name), 'utf8')),
    );
    const everything = [...kept, JSON.stringify(over), rig.agent.app.metrics()].join('\n');
    const pveSecret = rig.sim.token.split('=').at(-1) ?? '';
    for (const secret of [rig.token, pveSecret]) expect(everything).not.toContain(secret);
  });
});

/** The journal's last page has room on a full disk, too: fills it with records that change nothing. */
async function useUpPage({ agent }: Rig, jobId: string): Promise<void> {
  for (let records = 0; records < 200; records += 1) {
    const refused = await agent.app.jobs.change(jobId, {}, 'at-once').then(
      () => false,
      () => true,
    );
    if (refused) return;
  }
  throw new Error('the journal took every record');
}

/** A small file system that can be filled to its last byte. */
async function fullDisk() {
  const folder = (await must('mktemp', ['-d', '/tmp/felhom-full-XXXXXX'])).trim();
  await must('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=700', 'tmpfs', folder]);
  const ballast = join(folder, 'ballast');
  return {
    folder,
    fill: async () => {
      // Appended: a file that is cut first would leave its room to others for a moment.
      const more = Buffer.alloc(4 * 1024 * 1024);
      const error = await writeFile(ballast, more, { flag: 'a' }).catch((cause: unknown) => cause);
      if (!(error instanceof Error)) throw new Error('the disk did not fill');
    },
    empty: async () => await rm(ballast),
    unmount: async () => {
      await must('umount', ['-l', folder]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
