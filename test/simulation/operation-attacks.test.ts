import { readFile } from 'node:fs/promises';
import { generateSigningKey } from '@felhom/signed-document/keys.ts';
import { formatMoment, longestLifetimeMs } from 'felhom-agent/operations/payload.ts';
import { refusalReasons } from 'felhom-agent/operations/refusal.ts';
import { describe, expect, it } from 'vitest';
import {
  commonFields,
  type Fields,
  operations,
  operationWorld,
  signed,
  signedText,
  signerOf,
  signers,
  startMs,
  type World,
} from './operation-world.ts';

type Name = keyof typeof operations;
const fieldsOf = (name: Name, more: Fields = {}): Fields => ({ ...operations[name], ...commonFields(), ...more });
const envelopeOf = (name: Name, more: Fields = {}): Buffer => signed(fieldsOf(name, more));
const edited = (
  envelope: Buffer,
  change: (envelope: { payload: string; payloadType: string; signatures: unknown[] }) => void,
): Buffer => {
  const parsed = JSON.parse(envelope.toString());
  change(parsed);
  return Buffer.from(JSON.stringify(parsed));
};
const stranger = generateSigningKey();
const hour = 3_600_000;

interface Attack {
  name: string;
  reason: string;
  envelope: Buffer;
  /** What is so before the envelope comes. */
  before?: (world: World) => unknown;
  signers?: typeof signers;
}

const applied = async (world: World, envelope: Buffer): Promise<void> => {
  const ended = await world.process(null).apply(envelope);
  if (ended === 'died' || ended.kind !== 'acted')
    throw new Error(`the first envelope was not acted on: ${JSON.stringify(ended)}`);
};
const changeGuest = (change: Partial<NonNullable<World['node']['state']['guest']>>) => (world: World) => {
  if (world.node.state.guest !== null) world.node.state.guest = { ...world.node.state.guest, ...change };
};

const destroy = envelopeOf('guest-destroy');
const attacks: Attack[] = [
  {
    name: 'an altered payload',
    reason: 'bad_signature',
    envelope: edited(destroy, (each) => {
      each.payload = Buffer.from(JSON.stringify(fieldsOf('guest-destroy', { vmid: 102 }))).toString('base64');
    }),
  },
  {
    name: 'for another agent, as the same host name at another site has',
    reason: 'other_agent',
    envelope: envelopeOf('guest-destroy', { agent: 'f'.repeat(32) }),
  },
  {
    name: 'for another guest, with the marks of this one',
    reason: 'guest_absent',
    envelope: envelopeOf('guest-destroy', { vmid: 102 }),
  },
  {
    name: "of another guest's backup under this guest's number",
    reason: 'backup_of_other_guest',
    envelope: envelopeOf('backup-delete', {
      target: { volid: 'bk:backup/vzdump-lxc-102-2026_11_20-01_00_00.tar.zst', size_bytes: 31_108_454 },
    }),
  },
  {
    name: 'for a number that another guest bears by now',
    reason: 'guest_changed',
    envelope: destroy,
    before: changeGuest({ configDigest: 'c'.repeat(40) }),
  },
  {
    name: 'for a number that another guest bears by now, told by its root volume',
    reason: 'other_guest',
    envelope: envelopeOf('guest-destroy', { target: { kind: 'lxc', root_volume: 'local:101/vm-101-disk-0.raw' } }),
    before: changeGuest({ rootVolume: 'tank:subvol-101-disk-1' }),
  },
  {
    name: 'for a VM where a container is',
    reason: 'other_guest',
    envelope: envelopeOf('guest-destroy', { target: { kind: 'qemu', config_digest: 'a'.repeat(40) } }),
  },
  {
    name: 'for a backup of another size',
    reason: 'backup_changed',
    envelope: envelopeOf('backup-delete', {
      target: { ...operations['backup-delete'].target, size_bytes: 31_108_455 },
    }),
  },
  {
    name: 'for a backup that is not there',
    reason: 'backup_absent',
    envelope: envelopeOf('backup-delete', {
      target: { volid: 'bk:backup/vzdump-lxc-101-none.tar.zst', size_bytes: 1 },
    }),
  },
  {
    name: 'for a backup that is protected',
    reason: 'backup_protected',
    envelope: envelopeOf('backup-delete'),
    before: ({ node }) => {
      node.state.backups = node.state.backups.map((each) => ({ ...each, protected: true }));
    },
  },
  {
    name: 'for a snapshot taken at another time',
    reason: 'snapshot_changed',
    envelope: envelopeOf('snapshot-rollback'),
    before: changeGuest({ snapshots: [{ name: 'before', takenSeconds: 1_795_000_001 }] }),
  },
  {
    name: 'for a snapshot that is not there',
    reason: 'snapshot_absent',
    envelope: envelopeOf('snapshot-rollback'),
    before: changeGuest({ snapshots: [] }),
  },
  { name: 'for a guest that runs', reason: 'guest_running', envelope: destroy, before: changeGuest({ running: true }) },
  {
    name: 'over a guest that runs',
    reason: 'guest_running',
    envelope: envelopeOf('guest-restore'),
    before: changeGuest({ running: true }),
  },
  {
    name: 'over a container with a volume that its promised backup would not hold',
    reason: 'volume_unsaved',
    envelope: envelopeOf('guest-restore'),
    before: changeGuest({ unsaved: ['mp0 (local:101/vm-101-disk-1.raw)'] }),
  },
  {
    name: 'for a guest that is protected',
    reason: 'guest_protected',
    envelope: destroy,
    before: changeGuest({ protected: true }),
  },
  {
    name: 'for a guest that is locked',
    reason: 'guest_locked',
    envelope: destroy,
    before: changeGuest({ lock: 'backup' }),
  },
  { name: 'for a template', reason: 'guest_template', envelope: destroy, before: changeGuest({ template: true }) },
  {
    name: 'that has expired',
    reason: 'expired',
    envelope: envelopeOf('guest-destroy', {
      not_before: formatMoment(startMs - 2 * hour),
      expires: formatMoment(startMs),
    }),
  },
  {
    name: 'that is not valid yet',
    reason: 'not_yet_valid',
    envelope: envelopeOf('guest-destroy', {
      not_before: formatMoment(startMs + 1000),
      expires: formatMoment(startMs + hour),
    }),
  },
  {
    name: 'that is valid for more than seven days',
    reason: 'lifetime_too_long',
    envelope: envelopeOf('guest-destroy', {
      not_before: formatMoment(startMs - 1000),
      expires: formatMoment(startMs + longestLifetimeMs),
    }),
  },
  {
    name: 'that expires before it begins',
    reason: 'malformed_payload',
    envelope: envelopeOf('guest-destroy', {
      not_before: formatMoment(startMs + hour),
      expires: formatMoment(startMs - hour),
    }),
  },
  {
    name: 'that has expired, with the clock set back',
    reason: 'clock_behind',
    envelope: destroy,
    before: async (world) => {
      await world.clock.pass(2 * hour);
      expect(await world.process(null).apply(destroy)).toMatchObject({ refusal: { reason: 'expired' } });
      world.clock.jump(-2 * hour);
    },
  },
  {
    name: 'that was done before',
    reason: 'replayed',
    envelope: envelopeOf('backup-delete'),
    before: async (world) => await applied(world, envelopeOf('backup-delete')),
  },
  {
    name: 'whose first process died between nonce and act',
    reason: 'replayed',
    envelope: destroy,
    before: async (world) => {
      const dying = world.process({ effect: indexOf(await traceOf(destroy), 'pve.start'), when: 'before' });
      expect(await dying.apply(destroy)).toBe('died');
      expect(world.record().operations).toHaveLength(1);
    },
  },
  {
    name: 'that another process took, after a restart',
    reason: 'replayed',
    envelope: envelopeOf('guest-restore'),
    before: async (world) => {
      await applied(world, envelopeOf('guest-restore'));
      await world.process(null).recover();
    },
  },
  {
    name: 'for another operation under a known idempotency key',
    reason: 'idempotency_conflict',
    envelope: destroy,
    before: async (world) => await applied(world, envelopeOf('backup-delete', { nonce: 'cd'.repeat(16) })),
  },
  { name: 'by an unknown key', reason: 'unknown_key', envelope: signed(fieldsOf('guest-destroy'), stranger) },
  {
    name: 'by a revoked key',
    reason: 'revoked_key',
    envelope: signed(fieldsOf('guest-destroy'), stranger),
    signers: [...signers, { ...signerOf(stranger, 'eve'), revoked: true }],
  },
  { name: 'where nobody may sign', reason: 'no_signers', envelope: destroy, signers: [] },
  { name: 'without a signature', reason: 'unsigned', envelope: edited(destroy, (each) => (each.signatures = [])) },
  {
    name: 'with a broken signature beside a good one',
    reason: 'bad_signature',
    envelope: edited(destroy, (each) => {
      const other = JSON.parse(envelopeOf('backup-delete').toString());
      each.signatures = [...each.signatures, ...other.signatures];
    }),
  },
  { name: 'in an envelope that is no JSON', reason: 'malformed', envelope: Buffer.from('felhom') },
  {
    name: 'with a key in it that we do not know',
    reason: 'malformed_payload',
    envelope: envelopeOf('guest-destroy', { force: true }),
  },
  {
    name: 'with a field missing',
    reason: 'malformed_payload',
    envelope: envelopeOf('guest-destroy', { purge: undefined }),
  },
  {
    name: 'without any mark of its target',
    reason: 'malformed_payload',
    envelope: envelopeOf('guest-destroy', { target: { kind: 'lxc' } }),
  },
  {
    name: 'that we do not know',
    reason: 'malformed_payload',
    envelope: envelopeOf('guest-destroy', { operation: 'guest-reboot' }),
  },
  {
    name: 'with a key twice in the envelope',
    reason: 'duplicate_key',
    envelope: Buffer.from(destroy.toString().replace('"payload"', '"payloadType": "x", "payload"')),
  },
  {
    name: 'with a key twice in what was signed',
    reason: 'duplicate_key',
    envelope: signedText(JSON.stringify(fieldsOf('guest-destroy')).replace('{', '{"vmid":102,')),
  },
  {
    name: 'with base64 that is not canonical',
    reason: 'malformed',
    envelope: edited(destroy, (each) => (each.payload = `${each.payload}\n`)),
  },
  {
    name: 'of more bytes than any of ours has',
    reason: 'oversized',
    envelope: Buffer.concat([destroy, Buffer.alloc(16 * 1024, 0x20)]),
  },
  {
    name: 'signed as another kind of document',
    reason: 'wrong_payload_type',
    envelope: signed(fieldsOf('guest-destroy'), undefined, 'application/vnd.felhom.desired-state.v1+json'),
  },
  {
    name: 'signed as another kind of document, under our type',
    reason: 'bad_signature',
    envelope: edited(
      signed(fieldsOf('guest-destroy'), undefined, 'application/json'),
      (each) => (each.payloadType = 'application/vnd.felhom.operation.v1+json'),
    ),
  },
];

/** What an operation that is acted on does, effect by effect. */
async function traceOf(envelope: Buffer): Promise<readonly string[]> {
  const process = operationWorld().process(null);
  await process.apply(envelope);
  return process.life.trace;
}

const indexOf = (trace: readonly string[], effect: string): number => trace.indexOf(effect);

describe('a signed operation', () => {
  it.each(attacks)(
    '$name is refused as $reason, and nothing is done',
    async ({ reason, envelope, before, signers: by }) => {
      const world = operationWorld();
      await Promise.resolve(before?.(world));
      const [asked, state] = [world.node.asked.length, structuredClone(world.node.state)];
      const answer = await world.process(null).apply(envelope, by ?? signers);
      expect(answer).toMatchObject({ kind: 'refused', refusal: { reason, detail: expect.any(String) } });
      expect(world.node.asked).toHaveLength(asked);
      expect(world.node.state).toEqual(state);
      expect(world.node.violations).toEqual([]);
    },
  );

  it('is refused for reasons that operators can read of, every one', async () => {
    const text = await readFile(new URL('../../docs/operations.md', import.meta.url), 'utf8');
    expect(refusalReasons.filter((reason) => !text.includes(`\`${reason}\``))).toEqual([]);
    expect(attacks.map(({ reason }) => reason).filter((reason) => !refusalReasons.includes(reason))).toEqual([]);
  });

  it('that waives the backup of the present container restores over it, whatever no backup holds', async () => {
    const world = operationWorld();
    changeGuest({ unsaved: ['mp0 (local:101/vm-101-disk-1.raw)'] })(world);
    const waiving = envelopeOf('guest-restore', { safety_backup: 'waived' });
    expect(await world.process(null).apply(waiving)).toMatchObject({ kind: 'acted', operation: { outcome: 'done' } });
  });

  it('that is refused by the state of its target may be applied once that is as it was signed', async () => {
    const world = operationWorld();
    changeGuest({ running: true })(world);
    expect(await world.process(null).apply(destroy)).toMatchObject({ refusal: { reason: 'guest_running' } });
    changeGuest({ running: false })(world);
    expect(await world.process(null).apply(destroy)).toMatchObject({ kind: 'acted', operation: { outcome: 'done' } });
    expect(world.node.done).toEqual(['destroy-guest']);
  });

  it('signed anew under the same idempotency key answers what became of the first', async () => {
    const world = operationWorld();
    await applied(world, envelopeOf('backup-delete'));
    const again = await world.process(null).apply(envelopeOf('backup-delete', { nonce: 'cd'.repeat(16) }));
    expect(again).toMatchObject({ kind: 'earlier', operation: { outcome: 'done' } });
    expect(world.node.asked).toEqual(['delete-backup']);
  });

  it.each(['guest-destroy', 'snapshot-rollback'] as const)(
    'to %s that two processes take at once is done once',
    async (name) => {
      const world = operationWorld();
      const [one, other] = [world.process(null), world.process(null)];
      const answers = await Promise.all([one.apply(envelopeOf(name)), other.apply(envelopeOf(name))]);
      expect(world.node.done).toHaveLength(1);
      expect(answers.filter((each) => each !== 'died' && each.kind === 'acted')).toHaveLength(1);
    },
  );
});
