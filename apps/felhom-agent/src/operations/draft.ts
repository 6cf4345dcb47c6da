import { randomBytes } from 'node:crypto';
import { Failure } from '@felhom/kernel/failure.ts';
import { formatMoment, longestLifetimeMs, type OperationName, type Payload, payloadSchema } from './payload.ts';

/** What `operation sign` was told, and what it found out from the agent. Absent: nobody said. */
export interface DraftParts {
  operation: OperationName;
  vmid: number;
  agent?: string | undefined;
  volid?: string | undefined;
  /** null: the storage does not tell. */
  sizeBytes?: number | null | undefined;
  kind?: 'lxc' | 'qemu' | undefined;
  digest?: string | undefined;
  rootVolume?: string | undefined;
  snapshot?: string | undefined;
  snapshotTime?: number | undefined;
  purge?: boolean | undefined;
  unreferencedDisks?: boolean | undefined;
  start?: boolean | undefined;
  storage?: string | undefined;
  /** Where the present guest is backed up first; null: nowhere. */
  safetyBackup?: string | null | undefined;
  waiveArchiveCheck?: boolean | undefined;
  idempotencyKey?: string | undefined;
  validForMs: number;
}

/** Taken off the beginning: the clocks of whoever signs and of the host differ a little. */
const clockMarginMs = 60_000;

/** The payload of a new operation. @throws Failure `usage` that names what is missing or wrong */
export function draftPayload(parts: DraftParts, nowMs: number): Payload {
  const { operation, vmid, agent, validForMs } = parts;
  if (validForMs > longestLifetimeMs - clockMarginMs)
    throw wrong('an operation is valid for seven days at most', 'Give --valid-for 6d, or less.');
  const id = randomBytes(16).toString('hex');
  const common = {
    agent,
    vmid,
    nonce: id,
    not_before: formatMoment(nowMs - clockMarginMs),
    expires: formatMoment(nowMs + validForMs),
    idempotency_key: parts.idempotencyKey ?? id,
  };
  const parsed = payloadSchema.safeParse({ operation, ...common, ...contentOf(parts) }, { reportInput: true });
  if (parsed.success) return parsed.data;
  const missing = parsed.error.issues.map(({ path, message, input }) =>
    input === undefined ? `${optionOf(path)} is missing` : `${optionOf(path)}: ${message}`,
  );
  throw wrong(
    `the operation is not complete: ${[...new Set(missing)].join('; ')}; nothing was signed`,
    'On the host --from-agent reads what is there now; anywhere else name it: felhom-agent operation sign --help',
  );
}

function contentOf(parts: DraftParts): Record<string, unknown> {
  const { volid, sizeBytes, kind, snapshot, snapshotTime, start = false } = parts;
  const archive = { volid, size_bytes: sizeBytes };
  const guest = {
    kind,
    ...(parts.digest === undefined ? {} : { config_digest: parts.digest }),
    ...(parts.rootVolume === undefined ? {} : { root_volume: parts.rootVolume }),
  };
  switch (parts.operation) {
    case 'backup-delete':
      return { target: archive };
    case 'guest-destroy':
      return { target: guest, purge: parts.purge ?? false, unreferenced_disks: parts.unreferencedDisks ?? false };
    case 'snapshot-rollback':
      return { target: { ...guest, snapshot, snapshot_time: snapshotTime }, start };
    case 'guest-restore': {
      const safety = parts.safetyBackup === null ? 'waived' : { storage: parts.safetyBackup ?? volid?.split(':')[0] };
      const check = parts.waiveArchiveCheck === true ? 'waived' : 'whole';
      return {
        target: guest,
        archive,
        storage: parts.storage ?? null,
        safety_backup: safety,
        archive_check: check,
        start,
      };
    }
  }
}

const options: Readonly<Record<string, string>> = {
  agent: '--agent',
  volid: '--volid',
  size_bytes: '--size',
  kind: '--kind',
  config_digest: '--digest',
  root_volume: '--root-volume',
  target: '--digest',
  snapshot: '--snapshot',
  snapshot_time: '--snapshot-time',
  storage: '--storage',
  idempotency_key: '--idempotency-key',
};

function optionOf(path: readonly PropertyKey[]): string {
  const name = String(path.at(-1) ?? '');
  return path.includes('safety_backup') ? '--safety-backup' : (options[name] ?? name);
}

/** The words that would sign the same elsewhere, where the key is. */
export function signCommand(parts: DraftParts): string {
  const words: [string, string | number | boolean | null | undefined][] = [
    ['--agent', parts.agent],
    ['--volid', parts.volid],
    ['--size', parts.sizeBytes === null ? 'unknown' : parts.sizeBytes],
    ['--kind', parts.kind],
    ['--digest', parts.digest],
    ['--root-volume', parts.rootVolume],
    ['--snapshot', parts.snapshot],
    ['--snapshot-time', parts.snapshotTime],
    ['--purge', parts.purge],
    ['--unreferenced-disks', parts.unreferencedDisks],
    ['--storage', parts.storage],
    ['--safety-backup', parts.safetyBackup],
    ['--without-safety-backup', parts.safetyBackup === null],
    ['--waive-archive-check', parts.waiveArchiveCheck],
    ['--start', parts.start],
    ['--idempotency-key', parts.idempotencyKey],
  ];
  const said = words.flatMap(([name, value]) => {
    if (value === undefined || value === null || value === false) return [];
    return value === true ? [name] : [name, quote(String(value))];
  });
  return `felhom-agent operation sign ${parts.operation} ${parts.vmid} --key FILE ${said.join(' ')}`;
}

function quote(text: string): string {
  return /^[A-Za-z0-9._:/@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function wrong(message: string, hint: string): Failure {
  return new Failure('usage', { message, hint });
}
