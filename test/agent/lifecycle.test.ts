import { randomUUID } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { followUntil, goodReport, isOver, newestNotes, openRig, type Rig, until } from './rig.ts';

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

/** A whole cycle as a controller runs it; answers the job's last status. */
async function cycle(host: Rig, runId = 'run-1', client = host.client()) {
  const { job_id: jobId } = await client.start({ run_id: runId }, { idempotencyKey: randomUUID() });
  const ready = await followUntil(client, jobId, (status) => status.phase === 'ready' || isOver(status));
  if (ready.phase === 'ready') await client.quiesced(jobId);
  return { jobId, client, status: await followUntil(client, jobId, isOver) };
}

function startTask(host: Rig, vmid = 101) {
  return startVzdump(host, { vmid: String(vmid), storage: 'bk', mode: 'snapshot' });
}

/** Starts a vzdump as somebody else would: PVE's own schedule, or a person. */
async function startVzdump(host: Rig, params: Record<string, string>): Promise<string> {
  const { Agent, request } = await import('undici');
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(`${host.sim.url}/api2/json/nodes/pve1/vzdump`, {
      method: 'POST',
      dispatcher,
      headers: { authorization: `PVEAPIToken=${host.sim.token}`, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(params).toString(),
    });
    const { data } = (await answer.body.json()) as { data: string };
    return data;
  } finally {
    await dispatcher.close();
  }
}

describe('the journal', () => {
  it('is compacted while the agent serves, and a restart still knows every job that counts', async () => {
    rig = await openRig({ agent: { limits: { journal: '3KiB', keys: 2 } } });
    const path = join(rig.folder, 'state/journal.jsonl');
    const sizes: number[] = [];
    const client = rig.client();
    for (let run = 1; run <= 4; run += 1) {
      const { jobId } = await cycle(rig, `run-${run}`, client);
      await client.report(jobId, goodReport(`run-${run}`));
      const host = rig;
      await until('its job is settled', () => host.agent.app.jobs.get(jobId)?.notes === 'written');
      sizes.push((await stat(path)).size);
    }
    expect(sizes.some((size, index) => size < (sizes[index - 1] ?? 0))).toBe(true);
    const before = rig.agent.app.jobs.all().slice(-2);
    await rig.restart();
    const kept = rig.agent.app.jobs.all();
    expect(kept.length).toBeLessThan(4);
    expect(kept.slice(-2)).toEqual(before);
  });
});

describe('a vzdump that Proxmox VE itself starts', () => {
  it('is gated for a guest whose controller is calling, and becomes app-consistent by its report', async () => {
    rig = await openRig({ guest: { backup: [{ storage: 'bk', schedule: 'pve' }] } });
    const client = rig.client();
    const waiting = client.due({ waitSeconds: 20 });
    await until('the controller is calling', () => rig?.agent.app.isCalling(101));
    await startTask(rig);
    const due = await waiting;
    expect(due).toMatchObject({ due: true, reason: 'gate_open', requested_by: 'pve' });
    const jobId = due.job_id ?? '';
    expect(await followUntil(client, jobId, () => true)).toMatchObject({ phase: 'ready', origin: 'pve' });
    await client.quiesced(jobId);
    expect(await followUntil(client, jobId, isOver)).toMatchObject({ phase: 'done', degraded: null, mode: 'snapshot' });
    await client.report(jobId, goodReport('run-1'));
    const host = rig;
    await until(
      'the notes carry the grade',
      async () => (await newestNotes(host)) === `felhom/1 ${jobId} app-consistent full`,
    );
  });

  it('goes on at once, crash-consistent, when no controller is calling', async () => {
    rig = await openRig();
    await startTask(rig);
    const host = rig;
    const job = await until('the job is over', () => host.agent.app.jobs.all().find((each) => each.phase === 'done'));
    expect(job).toMatchObject({ origin: 'pve', degraded: 'no_watcher' });
    await until(
      'the notes say so',
      async () => (await newestNotes(host)) === `felhom/1 ${job.job_id} crash-consistent full`,
    );
  });

  it('goes on, crash-consistent, when the controller lets its gate lapse; quiesced is then answered 410', async () => {
    rig = await openRig({ guest: { backup: [{ storage: 'bk', schedule: 'pve' }] }, bounds: { claim: '300ms' } });
    const client = rig.client();
    await client.due();
    await startTask(rig);
    const due = await client.due({ waitSeconds: 10 });
    const host = rig;
    await until('the gate has closed', () => host.agent.app.jobs.get(due.job_id ?? '')?.degraded);
    await expect(client.quiesced(due.job_id ?? '')).rejects.toMatchObject({ kind: 'gone', status: 410 });
    expect(await followUntil(client, due.job_id ?? '', isOver)).toMatchObject({
      phase: 'done',
      degraded: 'gate_closed: gate_unclaimed',
    });
  });

  it('is left alone for a guest that we do not know', async () => {
    rig = await openRig({ guestSpec: { name: 'other' } });
    const host = rig;
    await writeFile(join(host.folder, 'nothing'), '');
    const upid = await startVzdump(host, { vmid: '101', storage: 'bk', mode: 'stop' });
    await until('the task is over', async () => !(await host.agent.app.pve.task(upid)).running);
    expect((await host.agent.app.pve.task(upid)).exitStatus).toBe('OK');
  });

  it('covers several guests in one task: each has its own job and its own end', async () => {
    rig = await openRig({ moreGuests: [102] });
    const host = rig;
    await host.fault({ fault: 'fail_archive', vmid: 102 });
    await startVzdump(host, { vmid: '101,102', storage: 'bk', mode: 'snapshot' });
    await until(
      'both are over',
      () => host.agent.app.jobs.all().filter((job) => ['done', 'failed'].includes(job.phase)).length === 2,
    );
    const ends = Object.fromEntries(host.agent.app.jobs.all().map((job) => [job.vmid, job.phase]));
    expect(ends).toEqual({ 101: 'done', 102: 'failed' });
  });

  it('may be cancelled by its guest while it waits at the gate, and not later', async () => {
    rig = await openRig({ guest: { backup: [{ storage: 'bk', schedule: 'pve' }] } });
    const client = rig.client();
    await client.due();
    const upid = await startTask(rig);
    const { job_id: jobId = '' } = await client.due({ waitSeconds: 10 });
    expect(await client.cancel(jobId)).toMatchObject({ phase: 'cancelled' });
    const host = rig;
    await until('the task is over', async () => !(await host.agent.app.pve.task(upid)).running);
    expect((await host.agent.app.pve.task(upid)).exitStatus).toBe('job errors');
    expect(await host.agent.app.pve.backups('bk', 101)).toEqual([]);
  });
});

describe('a job of ours', () => {
  it('fails by the hook when its controller never reports its apps down', async () => {
    rig = await openRig({ bounds: { claim: '400ms', lease: '400ms' } });
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    const host = rig;
    await until('the job failed', () => host.agent.app.jobs.get(jobId)?.phase === 'failed');
    expect(host.agent.app.jobs.get(jobId)?.degraded).toMatch(/^gate_closed/);
    await expect(client.quiesced(jobId)).rejects.toMatchObject({ kind: 'gone' });
    await until('its task is over', () => host.agent.app.jobs.get(jobId)?.task_ended);
    expect(await host.agent.app.pve.backups('bk', 101)).toEqual([]);
  });

  it('fails in the log gate with nothing posted when its controller never reports its apps down', async () => {
    rig = await openRig({ gate: 'log', bounds: { claim: '300ms', lease: '300ms' } });
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    const host = rig;
    await until('the job failed', () => host.agent.app.jobs.get(jobId)?.phase === 'failed');
    expect(host.agent.app.jobs.get(jobId)).toMatchObject({ upid: null, intent_at: null });
    await expect(client.quiesced(jobId)).rejects.toMatchObject({ kind: 'gone' });
  });

  it('is held past hold_max by no amount of polling', async () => {
    rig = await openRig({ bounds: { hold_max: '1s' } });
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    const over = await followUntil(client, jobId, isOver);
    expect(over).toMatchObject({ phase: 'failed', degraded: 'gate_closed: gate_hold_max' });
  });

  it.each(['hook', 'log'] as const)(
    'ends before anything goes down when vzdump would fall back to suspend mode (%s gate)',
    async (gate) => {
      rig = await openRig({ gate, guestSpec: { snapshots: false } });
      const { status } = await cycle(rig);
      expect(status).toMatchObject({ phase: 'failed', error: { code: 'mode_downgrade' } });
      const host = rig;
      await until('nothing runs any more', () =>
        host.agent.app.jobs.all().every((job) => job.task_ended || job.upid === null),
      );
      expect(await host.agent.app.pve.backups('bk', 101)).toEqual([]);
    },
  );

  it.each(['hook', 'log'] as const)('goes on in suspend mode where the policy accepts it (%s gate)', async (gate) => {
    rig = await openRig({
      gate,
      guestSpec: { snapshots: false },
      guest: { backup: [{ storage: 'bk', on_downgrade: 'accept' }] },
    });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'done', mode: 'suspend', error: null });
    expect(status.proof).not.toBeNull();
  });

  it.each(['hook', 'log'] as const)('is proven by the end of its task in stop mode (%s gate)', async (gate) => {
    rig = await openRig({ gate, guest: { backup: [{ storage: 'bk', mode: 'stop' }] } });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'done', mode: 'stop', proof: null });
    const host = rig;
    await until('the guest runs', async () => (await host.agent.app.pve.guest(101))?.running);
  });

  it.each(['hook', 'log'] as const)('fails when its snapshot fails (%s gate)', async (gate) => {
    rig = await openRig({ gate });
    await rig.fault({ fault: 'fail_snapshot', vmid: 101 });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'failed', error: { code: 'backup_failed' } });
    expect(status.proof).toBeNull();
  });

  it.each(['hook', 'log'] as const)(
    'fails when its archive fails, after the apps were let go (%s gate)',
    async (gate) => {
      rig = await openRig({ gate });
      await rig.fault({ fault: 'fail_archive', vmid: 101 });
      const { status } = await cycle(rig);
      expect(status).toMatchObject({
        phase: 'failed',
        error: { code: 'backup_failed', message: expect.stringContaining('archive failed by order') },
      });
      expect(status.proof).not.toBeNull();
    },
  );

  it.each(['hook', 'log'] as const)('finds its task by its mark when the answer was lost (%s gate)', async (gate) => {
    rig = await openRig({ gate });
    await rig.fault({ fault: 'drop_answer', method: 'POST', path: '/vzdump' });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'done', error: null });
    const host = rig;
    expect(await host.agent.app.pve.backups('bk', 101)).toHaveLength(1);
  });

  it('is concluded not started only after lost_start, and posted once', async () => {
    rig = await openRig({ gate: 'log' });
    await rig.fault({ fault: 'reset', method: 'POST', path: '/vzdump' });
    const begunMs = performance.now();
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'failed', upid: null });
    if (status.error?.message.includes('never started') === true)
      expect(performance.now() - begunMs).toBeGreaterThan(1_900);
    expect(await rig.agent.app.pve.tasks({ vmid: 101, source: 'all' })).toEqual([]);
  });

  it('fails when PVE answers OK without a task: the guest lives elsewhere', async () => {
    rig = await openRig({ gate: 'log' });
    await rig.fault({ fault: 'ok_without_upid' });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({
      phase: 'failed',
      error: { code: 'refused', message: expect.stringContaining('another node') },
    });
  });

  it('fails at once in the log gate when another vzdump has the node', async () => {
    rig = await openRig({ gate: 'log' });
    await rig.fault({ fault: 'hold_node_lock' });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'failed', error: { code: 'busy' } });
  });

  it('leaves no guest down: one that vzdump did not start again is started', async () => {
    rig = await openRig({ guest: { backup: [{ storage: 'bk', mode: 'stop' }] } });
    await rig.fault({ fault: 'leave_down', vmid: 101 });
    const { status, jobId } = await cycle(rig);
    expect(status.phase).toBe('done');
    const host = rig;
    await until('the debt is paid', () => host.agent.app.jobs.get(jobId)?.guest_owed === 'settled');
    expect((await host.agent.app.pve.guest(101))?.running).toBe(true);
  });

  it('leaves a guest down that is held', async () => {
    rig = await openRig({ guest: { held: 'a person works on it', backup: [{ storage: 'bk', mode: 'stop' }] } });
    await rig.fault({ fault: 'leave_down', vmid: 101 });
    const { jobId } = await cycle(rig);
    const host = rig;
    await until('it is settled', () => host.agent.app.jobs.get(jobId)?.guest_owed === 'settled');
    expect((await host.agent.app.pve.guest(101))?.running).toBe(false);
  });

  it('ends its own task when the freeze hangs and the controller is silent', async () => {
    rig = await openRig({ gate: 'log', bounds: { max_freeze: '500ms' } });
    await rig.fault({ fault: 'freeze_hangs', vmid: 101 });
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    const host = rig;
    await until('the job failed', () => host.agent.app.jobs.get(jobId)?.phase === 'failed');
    await until('its task is over', () => host.agent.app.jobs.get(jobId)?.task_ended);
    expect((await host.agent.app.pve.guest(101))?.lock).toBeNull();
  });

  it('goes on without its gate when the hook is not called, and says so', async () => {
    rig = await openRig({ hookMissing: true });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'done', degraded: 'hook_not_called' });
    expect(await newestNotes(rig)).toMatch(/crash-consistent full$/);
  });

  it('can be cancelled in its gate, and then says gone to quiesced', async () => {
    rig = await openRig();
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    expect(await client.cancel(jobId)).toMatchObject({ phase: 'cancelled' });
    await expect(client.quiesced(jobId)).rejects.toMatchObject({ kind: 'gone' });
    const host = rig;
    await until('its task is over', () => host.agent.app.jobs.get(jobId)?.task_ended);
    expect(await host.agent.app.pve.backups('bk', 101)).toEqual([]);
  });

  it.each(['hook', 'log'] as const)(
    'is cancelled while apps are down for it only by force, and its task with it (%s gate)',
    async (gate) => {
      rig = await openRig({ gate });
      await rig.fault({ fault: 'freeze_hangs', vmid: 101 });
      const client = rig.client();
      const { job_id: jobId } = await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
      await followUntil(client, jobId, (status) => status.phase === 'ready');
      await client.quiesced(jobId);
      const host = rig;
      await until('the task is known', () => host.agent.app.jobs.get(jobId)?.upid);
      await expect(client.cancel(jobId)).rejects.toMatchObject({ kind: 'refused' });
      expect(await client.cancel(jobId, { force: true })).toMatchObject({ phase: 'cancelled' });
      await until('its task is over', () => host.agent.app.jobs.get(jobId)?.task_ended);
    },
  );
});

describe('the archive, once the snapshot is made', () => {
  const phasesOf = (host: Rig) => host.agent.app.jobs.all().map(({ phase }) => phase);

  it('is not written before the apps run again', async () => {
    rig = await openRig({ bounds: { resume_hold: '60s' } });
    const host = rig;
    const client = host.client();
    const { job_id: jobId } = await client.start({ run_id: 'run-1' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    await client.quiesced(jobId);
    const snapshotted = await followUntil(client, jobId, (status) => status.phase === 'snapshotted' || isOver(status));
    const later = await client.status(jobId, { after: snapshotted.seq, waitSeconds: 1 });
    expect(later).toMatchObject({ phase: 'snapshotted', progress: null, volid: null });
    await client.resumed(jobId);
    expect(await followUntil(client, jobId, isOver)).toMatchObject({ phase: 'done' });
  });

  it('is written after resume_hold when nobody says that they do', async () => {
    rig = await openRig({ bounds: { resume_hold: '300ms' } });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({ phase: 'done' });
    expect(phasesOf(rig)).toEqual(['done']);
  });

  it('waits for nobody where no controller was asked', async () => {
    rig = await openRig({ bounds: { resume_hold: '60s' } });
    const host = rig;
    await startTask(host);
    await until('the job is over', () => phasesOf(host).includes('done'));
  });

  it('lets no guest say it of a job of another', async () => {
    rig = await openRig({ moreGuests: [102] });
    const client = rig.client();
    const { job_id: jobId } = await client.start({ run_id: 'run-1' }, { idempotencyKey: randomUUID() });
    await expect(rig.client({ vmid: 102 }).resumed(jobId)).rejects.toMatchObject({ kind: 'not_found' });
    await client.cancel(jobId);
  });
});
