import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { followUntil, goodReport, isOver, newestNotes, openRig, type Rig, until } from './rig.ts';

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

describe.each(['hook', 'log'] as const)('a backup that a controller asks for, through the %s gate', (gate) => {
  it('is ready, captured while the apps are down, proven, done, reported and graded in its notes', async () => {
    rig = await openRig({ gate });
    const client = rig.client();
    const before = await client.due();
    expect(before).toMatchObject({ due: true, reason: 'never' });

    const { job_id: jobId } = await client.start({ run_id: 'run-1' }, { idempotencyKey: randomUUID() });
    await followUntil(client, jobId, (status) => status.phase === 'ready');
    const quiesced = await client.quiesced(jobId);
    expect(quiesced.phase).toBe('capturing');
    const proven = await followUntil(client, jobId, (status) => status.phase === 'snapshotted' || isOver(status));
    expect(proven).toMatchObject({ gate, mode: 'snapshot', degraded: null, error: null });
    expect(proven.proof).not.toBeNull();
    const done = await followUntil(client, jobId, isOver);
    expect(done).toMatchObject({ phase: 'done', error: null });
    expect(done.volid).toMatch(/^bk:backup\/vzdump-lxc-101-/);

    expect(await client.report(jobId, goodReport('run-1'))).toEqual({ accepted: true, grade: 'app-consistent' });
    const host = rig;
    await until(
      'the notes carry the grade',
      async () => (await newestNotes(host)) === `felhom/1 ${jobId} app-consistent full`,
    );
    expect(await client.due()).toMatchObject({ due: false, reason: 'fresh', last: { grade: 'app-consistent' } });
  });
});
