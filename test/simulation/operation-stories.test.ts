import { PveError } from '@felhom/proxmox/errors.ts';
import { applyOperation } from 'felhom-agent/operations/apply.ts';
import type { OperationPorts } from 'felhom-agent/operations/ports.ts';
import { recoverOperations } from 'felhom-agent/operations/recover.ts';
import { watchOperations } from 'felhom-agent/operations/watch.ts';
import { expect, it } from 'vitest';
import {
  commonFields,
  type Fields,
  operations,
  operationWorld,
  signed,
  signers,
  type World,
} from './operation-world.ts';

const envelopeOf = (name: keyof typeof operations, more: Fields = {}): Buffer =>
  signed({ ...operations[name], ...commonFields(), ...more });
const other = { nonce: 'cd'.repeat(16), idempotency_key: 'another' };

/** A process that dies right before, or right after, its `nth` effect of that name. */
async function dieAt(world: World, envelope: Buffer, effect: string, when: 'before' | 'after', nth = 1): Promise<void> {
  const whole = operationWorld().process(null);
  await whole.apply(envelope);
  const at = whole.life.trace.flatMap((name, index) => (name === effect ? [index] : []))[nth - 1];
  if (at === undefined) throw new Error(`there is no ${effect} number ${nth}`);
  expect(await world.process({ effect: at, when }).apply(envelope)).toBe('died');
}

it('a process that died between nonce and intent leaves nothing to look for: it ends interrupted at once', async () => {
  const world = operationWorld();
  await dieAt(world, envelopeOf('guest-destroy'), 'pve.clockSeconds', 'before');
  const [settled] = await world.process(null).recover();
  expect(settled).toMatchObject({ outcome: 'interrupted', reason: 'nothing was asked of PVE yet' });
  expect(world.node.asked).toEqual([]);
});

it('an operation whose process lives is left to it by the recovery of another', async () => {
  const world = operationWorld();
  await dieAt(world, envelopeOf('guest-destroy'), 'pve.clockSeconds', 'before');
  const living = world.process(null);
  const lane = await world.clock.run(living.ports.lanes.tryGuest(101));
  expect(lane).not.toBeNull();
  expect(await world.process(null).recover()).toEqual([]);
  expect(world.record().operations).toMatchObject([{ outcome: null }]);
});

it('a clock that jumps ahead while an answer is looked for concludes nothing: the task that comes late is found', async () => {
  const world = operationWorld();
  world.node.mishap = 'late';
  world.clock.after(1_500, () => world.clock.jump(3_600_000));
  const answer = await world.process(null).apply(envelopeOf('backup-delete'));
  expect(answer).toMatchObject({ kind: 'acted', operation: { outcome: 'done' } });
  expect(world.node.done).toEqual(['delete-backup']);
});

it('nor does one that jumped while nobody looked, as at a start of the host', async () => {
  const world = operationWorld();
  world.node.mishap = 'late';
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  world.clock.jump(3_600_000);
  expect(await world.process(null).recover()).toMatchObject([{ outcome: 'done' }]);
});

it('a guest takes no other operation before it is known what became of the one before', async () => {
  const world = operationWorld();
  world.node.mishap = 'late';
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  world.node.awayUntilMs = world.clock.monotonicMs() + 20_000;
  const later = await world.process(null).apply(envelopeOf('snapshot-rollback', other));
  expect(later).toMatchObject({ kind: 'acted' });
  expect(world.record().operations).toMatchObject([{ outcome: 'done' }, { outcome: 'done' }]);
  expect(world.node.done).toEqual(['delete-backup', 'rollback']);
});

it('and refuses it where that stays unknown', async () => {
  const world = operationWorld();
  world.node.mishap = 'late';
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  world.node.awayUntilMs = world.clock.monotonicMs() + 600_000;
  const later = await world.process(null).apply(envelopeOf('snapshot-rollback', other));
  expect(later).toMatchObject({ kind: 'refused', refusal: { reason: 'earlier_open' } });
  expect(world.record().operations).toMatchObject([{ outcome: null }]);
  await world.clock.pass(600_000);
  expect(await world.process(null).recover()).toMatchObject([{ outcome: 'done' }]);
});

it('a guest that was started while its backup was read is not overwritten', async () => {
  const world = operationWorld();
  world.whileReading = () => {
    if (world.node.state.guest !== null) world.node.state.guest = { ...world.node.state.guest, running: true };
  };
  const answer = await world.process(null).apply(envelopeOf('guest-restore'));
  expect(answer).toMatchObject({ kind: 'refused', refusal: { reason: 'guest_running' } });
  expect(world.node.asked).toEqual([]);
});

it('a guest that changed while it was backed up is not overwritten, and its backup stays', async () => {
  const world = operationWorld();
  world.clock.after(1_000, () => {
    if (world.node.state.guest !== null)
      world.node.state.guest = { ...world.node.state.guest, configDigest: 'e'.repeat(40) };
  });
  const answer = await world.process(null).apply(envelopeOf('guest-restore'));
  expect(answer).toMatchObject({ kind: 'acted', operation: { outcome: 'failed' } });
  expect(JSON.stringify(answer)).toContain('the guest was not touched');
  expect(world.node.done).toEqual([]);
  expect(world.node.state.backups.filter(({ volid }) => volid.includes('safety'))).toMatchObject([{ protected: true }]);
});

it('an operation that expired while the present guest was backed up overwrites nothing', async () => {
  const world = operationWorld();
  world.clock.after(1_000, () => world.clock.jump(2 * 3_600_000));
  const answer = await world.process(null).apply(envelopeOf('guest-restore'));
  expect(answer).toMatchObject({
    kind: 'acted',
    operation: { outcome: 'failed', reason: expect.stringMatching(/expired at .*; the guest was not touched/) },
  });
  expect(world.node.asked).toEqual(['safety-backup']);
});

it.each([
  { what: 'the time before the first act', port: 'clockSeconds', nth: 1, asked: [], told: /nothing was asked of PVE/ },
  {
    what: 'the guest after its backup',
    port: 'guest',
    nth: 3,
    asked: ['safety-backup'],
    told: /not touched; bk:.*safety/,
  },
] as const)(
  'a node that does not tell $what ends it there, and says so at once',
  async ({ port, nth, asked, told }) => {
    const world = operationWorld();
    const { ports } = world.process(null);
    let calls = 0;
    const failing = async (): Promise<never> => {
      throw new PveError({ fault: { kind: 'auth' }, call: 'GET /x', text: 'no answer' });
    };
    const { [port]: real } = ports.pve;
    ports.pve = { ...ports.pve, [port]: async (vmid: number) => await (++calls === nth ? failing() : real(vmid)) };
    const work = applyOperation(ports, envelopeOf('guest-restore'), { signers, lockTimeoutMs: 5_000 });
    const answer = await world.clock.run(work);
    const reason = expect.stringMatching(new RegExp(`${told.source}.*no answer`));
    expect(answer).toMatchObject({ kind: 'acted', operation: { outcome: 'interrupted', reason } });
    expect(world.node.asked).toEqual(asked);
  },
);

it('a container is restored to where its rootfs is, unless another storage was signed', async () => {
  const world = operationWorld();
  await world.process(null).apply(envelopeOf('guest-restore'));
  expect(world.record().operations[0]?.restore_storage).toBe('local');
  const elsewhere = operationWorld();
  await elsewhere.process(null).apply(envelopeOf('guest-restore', { storage: 'tank' }));
  expect(elsewhere.record().operations[0]?.restore_storage).toBe('tank');
});

it('the present guest is overwritten without a backup only where that was signed', async () => {
  const world = operationWorld();
  const answer = await world.process(null).apply(envelopeOf('guest-restore', { safety_backup: 'waived' }));
  expect(answer).toMatchObject({ kind: 'acted', operation: { outcome: 'done' } });
  expect(world.node.asked).toEqual(['restore']);
});

it('what has expired is forgotten only when every clock that will be believed knows that it has', async () => {
  const world = operationWorld();
  await world.process(null).apply(envelopeOf('backup-delete'));
  await world.clock.pass(40 * 86_400_000);
  const now = world.clock.nowMs();
  await world.process(null).apply(envelopeOf('snapshot-rollback', { ...commonFields(now), ...other }));
  expect(world.record().operations.map(({ payload }) => payload.operation)).toEqual(['snapshot-rollback']);
  expect(await world.process(null).apply(envelopeOf('backup-delete'))).toMatchObject({
    refusal: { reason: 'expired' },
  });
});

it('whoever ends the command while the present guest is backed up ends it there: the guest is not overwritten', async () => {
  const world = operationWorld();
  const stop = new AbortController();
  world.clock.after(1_000, () => stop.abort());
  const { ports } = world.process(null);
  const options = { signers, lockTimeoutMs: 5_000, signal: stop.signal };
  const applied = await world.clock.run(applyOperation(ports, envelopeOf('guest-restore'), options));
  expect(applied).toMatchObject({ kind: 'acted', operation: { outcome: null } });
  await world.clock.pass(60_000);
  expect(await world.process(null).recover()).toMatchObject([
    { outcome: 'interrupted', reason: expect.stringContaining('the guest was not touched') },
  ]);
  expect(world.node.asked).toEqual(['safety-backup']);
});

it('a command that was ended before it asked for anything asks for nothing', async () => {
  const world = operationWorld();
  const { ports } = world.process(null);
  const options = { signers, lockTimeoutMs: 5_000, signal: AbortSignal.abort() };
  const applied = await world.clock.run(applyOperation(ports, envelopeOf('guest-destroy'), options));
  expect(applied).toMatchObject({ kind: 'acted', operation: { outcome: 'interrupted' } });
  expect(world.node.asked).toEqual([]);
});

it('the answer under a known idempotency key is looked for where its process died', async () => {
  const world = operationWorld();
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  const again = await world.process(null).apply(envelopeOf('backup-delete', { nonce: 'ef'.repeat(16) }));
  expect(again).toMatchObject({ kind: 'earlier', operation: { outcome: 'done' } });
  expect(world.node.asked).toEqual(['delete-backup']);
});

it('serve brings what a dead process left to its end, and notes the time, through a node that does not answer', async () => {
  const world = operationWorld();
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  const awayMs = 200_000;
  world.node.awayUntilMs = world.clock.monotonicMs() + awayMs;
  const stop = new AbortController();
  const said: string[] = [];
  const log = { info: (line: string) => void said.push(line), warn: (line: string) => void said.push(line) };
  const { ports } = world.process(null);
  const every = { lookEveryMs: 30_000, markEveryMs: 3_600_000 };
  const watching = watchOperations(ports, { log, stop: stop.signal, ...every });
  await world.clock.pass(awayMs / 2);
  expect(world.record().operations).toMatchObject([{ outcome: null }]);
  await world.clock.pass(awayMs);
  expect(world.record().operations).toMatchObject([{ outcome: 'done' }]);
  expect(said).toEqual([expect.stringMatching(/^done: delete the backup/)]);
  await world.clock.pass(2 * every.markEveryMs);
  expect(world.clock.nowMs() - world.record().high_water_ms).toBeLessThan(every.markEveryMs);
  expect(world.node.asked).toEqual(['delete-backup']);
  stop.abort();
  await world.clock.run(watching);
});

it('serve finds within its next look what a process leaves that dies while it serves', async () => {
  const world = operationWorld();
  const stop = new AbortController();
  const log = { info: () => undefined, warn: () => undefined };
  const every = { lookEveryMs: 30_000, markEveryMs: 3_600_000 };
  const watching = watchOperations(world.process(null).ports, { log, stop: stop.signal, ...every });
  await world.clock.pass(600_000);
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  await world.clock.pass(2 * every.lookEveryMs);
  expect(world.record().operations).toMatchObject([{ outcome: 'done' }]);
  stop.abort();
  await world.clock.run(watching);
});

it('serve looks on after what kept it from looking, and says it once', async () => {
  const world = operationWorld();
  const { ports } = world.process(null);
  const stop = new AbortController();
  const said: string[] = [];
  const log = { info: () => undefined, warn: (line: string) => void said.push(line) };
  const store = { ...ports.store, change: () => Promise.reject(new Error('the disk is gone')) };
  const every = { lookEveryMs: 30_000, markEveryMs: 60_000 };
  const watching = watchOperations({ ...ports, store }, { log, stop: stop.signal, ...every });
  await world.clock.pass(300_000);
  expect(said).toEqual([expect.stringContaining('the disk is gone')]);
  stop.abort();
  await world.clock.run(watching);
});

/** Two operations that dead processes left, on 101 and on 102; `ofFirst` is what looking for the task of the one on 101 comes to. */
async function twoLeft(world: World, ofFirst: OperationPorts['pve']['find']): Promise<OperationPorts> {
  await dieAt(world, envelopeOf('backup-delete'), 'pve.start', 'after');
  const { ports } = world.process(null);
  await world.clock.run(
    ports.store.change((file) => {
      const second = file.operations.map((each) => ({
        ...each,
        id: 'second',
        payload: { ...each.payload, vmid: 102 },
      }));
      return { file: { ...file, operations: [...file.operations, ...second] }, answer: null };
    }),
  );
  const find: typeof ofFirst = async (question) =>
    question.act.vmid === 101 ? await ofFirst(question) : { kind: 'found', upid: 'U' };
  const pve = { ...ports.pve, find, follow: async () => ({ kind: 'ok', volid: null }) as const };
  return { ...ports, pve };
}

it('what keeps one guest from being looked at keeps no other from it, and is told', async () => {
  const world = operationWorld();
  const broken = async (): Promise<never> => {
    throw new PveError({ fault: { kind: 'storage-inactive' }, call: 'GET content', text: 'it is offline' });
  };
  const ports = await twoLeft(world, broken);
  await expect(world.clock.run(recoverOperations(ports))).rejects.toThrow('it is offline');
  expect(world.record().operations).toMatchObject([{ outcome: null }, { id: 'second', outcome: 'done' }]);
});

it('serve looks after the others while it follows one for hours', async () => {
  const world = operationWorld();
  const stop = new AbortController();
  const log = { info: () => undefined, warn: () => undefined };
  const every = { lookEveryMs: 30_000, markEveryMs: 3_600_000 };
  const hours = async (): Promise<{ kind: 'undecided'; why: string }> => {
    await world.clock.sleep(10 * 3_600_000, stop.signal);
    return { kind: 'undecided', why: 'it takes long' };
  };
  const ports = await twoLeft(world, hours);
  const operations = world.record().operations.filter(({ id }) => id === 'second');
  // The second one is left while the first one is followed already.
  await world.clock.run(
    ports.store.change((file) => ({
      file: { ...file, operations: file.operations.filter(({ id }) => id !== 'second') },
      answer: null,
    })),
  );
  const watching = watchOperations(ports, { log, stop: stop.signal, ...every });
  await world.clock.pass(600_000);
  await world.clock.run(
    ports.store.change((file) => ({
      file: { ...file, operations: [...file.operations, ...operations] },
      answer: null,
    })),
  );
  await world.clock.pass(2 * every.lookEveryMs);
  expect(world.record().operations).toMatchObject([{ outcome: null }, { id: 'second', outcome: 'done' }]);
  await world.clock.pass(2 * every.markEveryMs);
  expect(world.clock.nowMs() - world.record().high_water_ms).toBeLessThan(every.markEveryMs);
  stop.abort();
  await world.clock.run(watching);
});
