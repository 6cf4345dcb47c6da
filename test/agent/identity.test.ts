import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createAgentClient } from '@felhom/guest-api/client.ts';
import { memoryGeneration } from '@felhom/guest-api/generation.ts';
import { adoptionOf } from 'felhom-agent/commands/guest-adopt.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { followUntil, isOver, openRig, type Rig, until } from './rig.ts';

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

/** A guest with a generation store that the test can look into. */
function guest(host: Rig, bootId: string, start: string | null = null, bootStarted: string | null = null) {
  const generation = memoryGeneration(start);
  const agents = [host.agent.serving];
  const client = createAgentClient({ agents, token: host.token, generation, bootId, bootStarted });
  return { client, generation };
}

async function backUp({ client }: ReturnType<typeof guest>): Promise<void> {
  const { job_id: jobId } = await client.start({ run_id: randomUUID() }, { idempotencyKey: randomUUID() });
  await followUntil(client, jobId, (status) => status.phase === 'ready');
  await client.quiesced(jobId);
  const over = await followUntil(client, jobId, isOver);
  expect(over.phase).toBe('done');
}

describe('a restored copy', () => {
  it('is refused with 409 restored_copy, starts nothing, and is an alert that names adopt', async () => {
    rig = await openRig();
    const real = guest(rig, 'boot-1');
    await backUp(real);
    await real.client.due();
    await real.client.due();
    const copy = guest(rig, 'boot-2', '0');
    await expect(copy.client.due()).rejects.toMatchObject({ kind: 'restored_copy', status: 409 });
    await expect(copy.client.start({ run_id: 'x' }, { idempotencyKey: 'x' })).rejects.toMatchObject({
      kind: 'restored_copy',
    });
    expect(copy.generation.value).toBe('0');
    expect(rig.agent.app.alerts.list()).toMatchObject([
      { vmid: 101, hint: expect.stringContaining('guest adopt 101') },
    ]);
    expect((await real.client.due()).due).toBe(false);
    await Promise.all([real.client.close(), copy.client.close()]);
  });

  it('is still told from the guest after a restart of the agent', async () => {
    rig = await openRig();
    const real = guest(rig, 'boot-1');
    await backUp(real);
    await real.client.due();
    await real.client.due();
    await rig.restart();
    await expect(guest(rig, 'boot-2', '0').client.due()).rejects.toMatchObject({ kind: 'restored_copy' });
    expect((await guest(rig, 'boot-1', real.generation.value).client.due()).due).toBe(false);
    await real.client.close();
  });

  it('is recognised too when it comes from a backup that was made by somebody else', async () => {
    rig = await openRig({ guest: { backup: [{ storage: 'bk', schedule: 'pve' }] }, agent: { pve_jobs: 'ignore' } });
    const real = guest(rig, 'boot-1');
    await real.client.due();
    await rig.agent.app.pve.startBackup({
      vmid: 101,
      storage: 'bk',
      mode: 'snapshot',
      compress: 'zstd',
      mark: 'by hand',
      lockwaitMinutes: 1,
    });
    const host = rig;
    await until('the generation was raised', () => host.agent.app.guests.entry(101).identity.offered);
    await real.client.due();
    await real.client.due();
    await expect(guest(rig, 'boot-2', '0').client.due()).rejects.toMatchObject({ kind: 'restored_copy' });
    await real.client.close();
  });
});

describe('two guests that take turns', () => {
  it('are both refused although they share the boot id of their host: their PID 1 started at different times', async () => {
    rig = await openRig();
    const [one, two] = [guest(rig, 'host', '0', '100'), guest(rig, 'host', '0', '200')];
    const older = guest(rig, 'host', '0');
    await one.client.due();
    // A controller from before its upgrade may be any of them.
    await older.client.due();
    await one.client.due();
    await two.client.due();
    await rig.restart();
    const again = guest(rig, 'host', '0', '100');
    await expect(again.client.due()).rejects.toMatchObject({ kind: 'identity_conflict' });
    await Promise.all([one, two, older, again].map(async ({ client }) => await client.close()));
  });

  it('are both refused, until one is adopted', async () => {
    rig = await openRig();
    const [one, two] = [guest(rig, 'boot-1', '0'), guest(rig, 'boot-2', '0')];
    await one.client.due();
    await two.client.due();
    await expect(one.client.due()).rejects.toMatchObject({ kind: 'identity_conflict' });
    await expect(two.client.due()).rejects.toMatchObject({ kind: 'identity_conflict' });
    const { createHostCommands } = await import('felhom-agent/serve/host-commands.ts');
    await createHostCommands(rig.agent.app).adopt(101, {});
    expect((await two.client.due()).due).toBe(true);
    expect((await two.client.due()).due).toBe(true);
    await expect(one.client.due()).rejects.toMatchObject({ kind: 'restored_copy' });
    await Promise.all([one.client.close(), two.client.close()]);
  });
});

describe('a guest that was put back to an earlier time by a signed operation', () => {
  it.each([true, false])('is let in, serve running: %s', async (running) => {
    rig = await openRig();
    const real = guest(rig, 'boot-1');
    await backUp(real);
    await real.client.due();
    await real.client.due();
    await real.client.close();
    if (!running) await rig.agent.stop();
    const adoption = adoptionOf({ socket: rig.socket, state: join(rig.folder, 'state') });
    expect(await adoption.adopt(101)).toBeNull();
    if (!running) await rig.restart();
    const restored = guest(rig, 'boot-2', '0');
    await restored.client.due();
    await restored.client.due();
    const copy = guest(rig, 'boot-3', '1');
    await expect(copy.client.due()).rejects.toMatchObject({ kind: 'restored_copy' });
    await Promise.all([restored.client.close(), copy.client.close()]);
  });
});
