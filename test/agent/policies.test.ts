import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { followUntil, goodReport, isOver, newestNotes, openRig, type Rig, until } from './rig.ts';

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

async function cycle(host: Rig) {
  const client = host.client();
  const { job_id: jobId } = await client.start({ run_id: 'run' }, { idempotencyKey: randomUUID() });
  const ready = await followUntil(client, jobId, (status) => status.phase === 'ready' || isOver(status));
  if (ready.phase === 'ready') await client.quiesced(jobId);
  const status = await followUntil(client, jobId, isOver);
  return { client, jobId, status };
}

describe('a guest that asks often', () => {
  it('is refused within the minimum interval, and the host may still ask', async () => {
    rig = await openRig({ bounds: { min_interval: '1h' } });
    const { client, status } = await cycle(rig);
    expect(status.phase).toBe('done');
    await expect(client.start({ run_id: 'again' }, { idempotencyKey: randomUUID() })).rejects.toMatchObject({
      status: 429,
      code: 'policy_refused',
      hint: expect.stringContaining('felhom-agent backup now 101'),
    });
    expect(await rig.agent.app.service.startForOperator(101, { quiesce: false })).toMatchObject({ origin: 'operator' });
    const host = rig;
    await until('both are over', () => host.agent.app.jobs.all().every((job) => job.task_ended));
  });

  it('may ask again at once after a failure, but is not called for one before the backoff is over', async () => {
    rig = await openRig({ bounds: { min_interval: '1h', backoff: '1h' } });
    await rig.fault({ fault: 'fail_archive', vmid: 101 });
    const { client, status } = await cycle(rig);
    expect(status.phase).toBe('failed');
    expect(await client.due()).toMatchObject({ due: false, reason: 'backoff' });
    const again = await client.start({ run_id: 'again' }, { idempotencyKey: randomUUID() });
    await followUntil(client, again.job_id, (each) => each.phase === 'ready');
    await client.quiesced(again.job_id);
    expect(await followUntil(client, again.job_id, isOver)).toMatchObject({ phase: 'done' });
  });

  it('and lets none of them come to anything is refused for a while: the node lock is not for it alone', async () => {
    rig = await openRig({ agent: { limits: { attempts: 3 } }, bounds: { min_interval: '1h' } });
    const client = rig.client();
    const ask = async () => await client.start({ run_id: 'r' }, { idempotencyKey: randomUUID() });
    for (let count = 0; count < 3; count += 1) await client.cancel((await ask()).job_id, { force: true });
    await expect(ask()).rejects.toMatchObject({
      status: 429,
      code: 'policy_refused',
      message: expect.stringContaining('3 backups within 60 min'),
      hint: expect.stringContaining('felhom-agent backup now 101'),
    });
    expect(await rig.agent.app.service.startForOperator(101, { quiesce: false })).toMatchObject({ origin: 'operator' });
    const host = rig;
    await until('all are over', () => host.agent.app.jobs.all().every((job) => job.task_ended));
  });

  it('for what was due takes none when another was made meanwhile, and one by hand all the same', async () => {
    rig = await openRig();
    const client = rig.client();
    expect(await client.due()).toMatchObject({ due: true, reason: 'never' });
    await rig.agent.app.service.startForOperator(101, { quiesce: false });
    const host = rig;
    await until('it is over', () => host.agent.app.jobs.all().every((job) => job.task_ended));
    const late = client.start({ run_id: 'late' }, { idempotencyKey: 'late', onlyIfDue: true });
    await expect(late).rejects.toMatchObject({
      kind: 'not_due',
      status: 409,
      message: expect.stringContaining('fresh'),
    });
    expect(rig.agent.app.jobs.all()).toHaveLength(1);
    const byHand = await client.start({ run_id: 'hand' }, { idempotencyKey: 'hand', onlyIfDue: false });
    await client.cancel(byHand.job_id, { force: true });
  });

  it('gets the same job for the same key, whenever it asks', async () => {
    rig = await openRig();
    const client = rig.client();
    const [one, two] = await Promise.all([
      client.start({ run_id: 'r' }, { idempotencyKey: 'same' }),
      client.start({ run_id: 'r' }, { idempotencyKey: 'same' }),
    ]);
    expect(two.job_id).toBe(one.job_id);
    await rig.restart();
    const after = rig.client();
    expect(await after.start({ run_id: 'r' }, { idempotencyKey: 'same' })).toMatchObject({ job_id: one.job_id });
    await after.cancel(one.job_id, { force: true });
  });
});

describe("an operator's request", () => {
  it('is joined by a controller that posts instead of following', async () => {
    rig = await openRig({ bounds: { operator_claim: '20s' } });
    const job = await rig.agent.app.service.startForOperator(101, { quiesce: true });
    const { status, jobId } = await cycle(rig);
    expect(jobId).toBe(job.job_id);
    expect(status).toMatchObject({ phase: 'done', origin: 'operator', degraded: null });
  });

  it('goes on crash-consistent when the controller that claimed it dies', async () => {
    rig = await openRig({ bounds: { operator_claim: '20s', lease: '300ms', claim: '300ms' } });
    const job = await rig.agent.app.service.startForOperator(101, { quiesce: true });
    const client = rig.client();
    await followUntil(client, job.job_id, (status) => status.phase === 'ready');
    const host = rig;
    await until('it is done', () => host.agent.app.jobs.get(job.job_id)?.phase === 'done');
    expect(host.agent.app.jobs.get(job.job_id)?.degraded).toBe('gate_closed: gate_lapsed');
  });
});

describe('pve_jobs: require_quiesce', () => {
  it('ends a job of PVE that no controller can be asked for', async () => {
    rig = await openRig({ agent: { pve_jobs: 'require_quiesce' } });
    await rig.agent.app.pve.startBackup({
      vmid: 101,
      storage: 'bk',
      mode: 'snapshot',
      compress: 'zstd',
      mark: 'by hand',
      lockwaitMinutes: 1,
    });
    const host = rig;
    const job = await until('it is over', () => host.agent.app.jobs.all().find((each) => each.task_ended));
    expect(job).toMatchObject({ phase: 'failed', error: { code: 'policy_refused' } });
    expect(await rig.agent.app.pve.backups('bk', 101)).toEqual([]);
  });
});

describe('other guests and storages', () => {
  it.each(['hook', 'log'] as const)('proves a VM by its log (%s gate)', async (gate) => {
    rig = await openRig({ gate, guestSpec: { kind: 'qemu' } });
    const { status } = await cycle(rig);
    expect(status).toMatchObject({
      phase: 'done',
      degraded: null,
      proof: expect.stringContaining('started backup task'),
    });
    expect(status.volid).toMatch(/vzdump-qemu-101/);
  });

  it('writes the notes of a backup on a Proxmox Backup Server', async () => {
    rig = await openRig({ storage: { kind: 'pbs' } });
    const { client, jobId, status } = await cycle(rig);
    expect(status).toMatchObject({
      phase: 'done',
      storage_type: 'pbs',
      volid: expect.stringMatching(/^bk:backup\/ct\/101\//),
    });
    await client.report(jobId, goodReport('run'));
    const host = rig;
    await until('graded', async () => (await newestNotes(host)) === `felhom/1 ${jobId} app-consistent full`);
  });

  it('backs a stopped guest up without asking anybody', async () => {
    rig = await openRig({ guestSpec: { running: false } });
    const job = await rig.agent.app.service.startForOperator(101, { quiesce: false });
    const host = rig;
    await until('it is done', () => host.agent.app.jobs.get(job.job_id)?.phase === 'done');
    expect(host.agent.app.jobs.get(job.job_id)).toMatchObject({ mode: 'stop', guest_owed: 'none' });
    expect((await rig.agent.app.pve.guest(101))?.running).toBe(false);
  });
});
