import { createHash } from 'node:crypto';
import { readStrictJson } from '@felhom/signed-document/strict-json.ts';
import { z } from 'zod';

/** DSSE's payload type of an operation: no other kind of document of ours can be read as one. */
export const operationPayloadType = 'application/vnd.felhom.operation.v1+json';
/** Bytes of a whole envelope. */
export const largestEnvelopeBytes = 16 * 1024;
export const longestLifetimeMs = 7 * 86_400_000;

const vmid = z.number().int().min(100).max(999_999_999);
const volid = z
  .string()
  .max(512)
  .regex(/^[A-Za-z][A-Za-z0-9._-]*:[\x21-\x7e]+$/, 'expected a volume id, such as bk:backup/vzdump-lxc-101-….tar.zst');
const storage = z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,99}$/, 'expected the name of a storage');
const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`), `expected ${digits} hex digits`);
const moment = z.string().refine((text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) && isMoment(text), {
  error: 'expected a time such as 2026-11-24T22:00:00Z',
});

const envelopeFields = {
  agent: hex(32),
  vmid,
  nonce: hex(32),
  not_before: moment,
  expires: moment,
  idempotency_key: z.string().regex(/^[A-Za-z0-9._:-]{1,64}$/, 'expected up to 64 letters, digits and . _ : -'),
};

const archive = z.strictObject({
  volid,
  /** Exactly, in bytes; null for a storage that does not tell (PBS may not). */
  size_bytes: z.number().int().min(1).nullable(),
});

/** What tells the guest that is meant from any other that comes to bear its number. At least one of the two. */
const guestIdentity = {
  kind: z.enum(['lxc', 'qemu']),
  config_digest: hex(40).optional(),
  /** The volume of a container's rootfs, of a VM's first disk. A new guest of the same number may get the same: the digest is the safer one. */
  root_volume: volid.optional(),
};
const guestTarget = z
  .strictObject(guestIdentity)
  .refine((target) => target.config_digest !== undefined || target.root_volume !== undefined, {
    error: 'expected config_digest or root_volume, better both',
  });

export const payloadSchema = z.discriminatedUnion('operation', [
  z.strictObject({ operation: z.literal('backup-delete'), ...envelopeFields, target: archive }),
  z.strictObject({
    operation: z.literal('guest-destroy'),
    ...envelopeFields,
    target: guestTarget,
    /** Also out of backup jobs, replication and high availability. */
    purge: z.boolean(),
    /** Also disks of that number that the configuration does not name. */
    unreferenced_disks: z.boolean(),
  }),
  z.strictObject({
    operation: z.literal('snapshot-rollback'),
    ...envelopeFields,
    target: z.strictObject({
      ...guestIdentity,
      snapshot: z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,39}$/, 'expected the name of a snapshot'),
      /** Seconds since the epoch, as PVE lists it. */
      snapshot_time: z.number().int().min(1),
    }),
    start: z.boolean(),
  }),
  z.strictObject({
    operation: z.literal('guest-restore'),
    ...envelopeFields,
    target: guestTarget,
    archive,
    /** Where the volumes go; null: where the container's rootfs is now, a VM's as its backup says. */
    storage: storage.nullable(),
    safety_backup: z.union([z.strictObject({ storage }), z.literal('waived')], 'expected the name of a storage'),
    archive_check: z.enum(['whole', 'waived']),
    start: z.boolean(),
  }),
]);
export type Payload = z.output<typeof payloadSchema>;
export type OperationName = Payload['operation'];

export type PayloadReading =
  | { kind: 'payload'; payload: Payload }
  | { kind: 'refused'; reason: 'malformed_payload' | 'duplicate_key'; detail: string };

/** Reads what an envelope carried. Never throws. */
export function readPayload(bytes: Uint8Array): PayloadReading {
  const json = readStrictJson(bytes);
  if (json.kind === 'refused') {
    const reason = json.reason === 'duplicate_key' ? json.reason : 'malformed_payload';
    return { kind: 'refused', reason, detail: json.detail };
  }
  const parsed = payloadSchema.safeParse(json.value);
  if (parsed.success) return { kind: 'payload', payload: parsed.data };
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  return { kind: 'refused', reason: 'malformed_payload', detail: `${place}${issue?.message ?? 'not an operation'}` };
}

/** What the operation does, without who may do it when: equal for two envelopes that ask for the same. */
export function contentDigest(payload: Payload): string {
  const { nonce: _nonce, not_before: _from, expires: _until, idempotency_key: _key, ...content } = payload;
  return createHash('sha256').update(JSON.stringify(content)).digest('hex');
}

/** One line: what is done to what. */
export function describeOperation(payload: Payload): string {
  const { vmid: guest } = payload;
  switch (payload.operation) {
    case 'backup-delete':
      return `delete the backup ${payload.target.volid} of guest ${guest}`;
    case 'guest-destroy':
      return `destroy guest ${guest} and its disks`;
    case 'snapshot-rollback':
      return `roll guest ${guest} back to its snapshot ${payload.target.snapshot}`;
    case 'guest-restore':
      return `restore ${payload.archive.volid} over guest ${guest}`;
  }
}

function isMoment(text: string): boolean {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && formatMoment(ms) === text;
}

/** Whole seconds, UTC. */
export function formatMoment(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}
