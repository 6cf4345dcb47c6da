import { formatBytes } from '@felhom/cli/quantity.ts';
import { fieldOf, managedFields, readField } from './fields.ts';
import type { ManagedField } from './managed-field.ts';
import type {
  ActualGuest,
  AwaitingRestart,
  DesiredFields,
  DesiredGuest,
  FieldChange,
  FieldName,
  FieldValue,
  GuestKind,
  Options,
} from './model.ts';

/** Something that a plan leaves out, and why. */
export interface LeftOut {
  /** `deferred`: it may be done later or with a flag. `failed`: it cannot be done as declared. */
  standing: 'deferred' | 'failed';
  reason: string;
  hint: string | null;
}

export interface FieldsPlan {
  changes: readonly FieldChange[];
  awaitingRestart: readonly AwaitingRestart[];
  leftOut: readonly LeftOut[];
}

type ReadConfig = Extract<ActualGuest['config'], { kind: 'read' }>;

/** Compares what is declared of a guest's fields with its configuration. Pure; the fields are those of the table, in its order. */
export function planFields(
  desired: DesiredGuest,
  actual: ActualGuest,
  config: ReadConfig,
  allowMemoryBelowUse: boolean,
): FieldsPlan {
  const changes: FieldChange[] = [];
  const awaitingRestart: AwaitingRestart[] = [];
  const leftOut: LeftOut[] = [];
  for (const { field, declared } of declaredFields(desired.fields)) {
    const to = field.canonical(actual.kind, declared);
    const refusal = refusalOf(field, actual.kind, to);
    if (refusal !== null) {
      leftOut.push({ standing: 'failed', reason: refusal, hint: `Correct ${desired.source}.` });
      continue;
    }
    const compared = compare(field, actual, config, to);
    if (compared.kind === 'awaiting') awaitingRestart.push(compared.awaiting);
    if (compared.kind !== 'change') continue;
    const guard = allowMemoryBelowUse ? null : memoryGuard(compared.change, actual, config.live);
    if (guard === null) changes.push(compared.change);
    else leftOut.push(guard);
  }
  return { changes, awaitingRestart, leftOut };
}

function declaredFields(fields: DesiredFields): { field: ManagedField; declared: FieldValue }[] {
  return managedFields.flatMap((field) => {
    const declared = fields[field.name];
    return declared === undefined ? [] : [{ field, declared }];
  });
}

/** Why a guest of this kind cannot be as declared, in words; null where it can. */
function refusalOf(field: ManagedField, kind: GuestKind, to: FieldValue): string | null {
  if (field.option[kind] === null) return `${field.name}: ${kind === 'qemu' ? 'a VM' : 'a container'} has none`;
  const why = field.refuses(kind, to);
  return why === null ? null : `${field.name}: ${why}`;
}

type Compared =
  | { kind: 'same' }
  | { kind: 'awaiting'; awaiting: AwaitingRestart }
  | { kind: 'change'; change: FieldChange };

function compare(field: ManagedField, actual: ActualGuest, config: ReadConfig, to: FieldValue): Compared {
  const { kind } = actual;
  const option = field.option[kind] ?? field.name;
  const from = readField(field, kind, config.pending);
  const live = config.live[option] === config.pending[option] ? from : readField(field, kind, config.live);
  if (from === to)
    return live === to ? { kind: 'same' } : { kind: 'awaiting', awaiting: { field: field.name, live, declared: to } };
  const effect = actual.running ? field.effect(kind, config.live) : 'live';
  const write = field.write(kind, option, to);
  return { kind: 'change', change: { field: field.name, from, to, write, effect } };
}

/** Lowering the memory of a running guest below what it uses kills processes in it, or fails half-way. */
function memoryGuard(change: FieldChange, actual: ActualGuest, live: Options): LeftOut | null {
  if (change.field !== 'memory' || !actual.running) return null;
  const [wanted, now] = [mebibytes(change.to), mebibytes(readField(fieldOf('memory'), actual.kind, live))];
  if (wanted === null || (now !== null && wanted >= now)) return null;
  const used = actual.memoryUsedBytes;
  if (used !== null && used <= wanted * 2 ** 20) return null;
  const inUse = used === null ? 'an amount that is not known' : formatBytes(used);
  return {
    standing: 'deferred',
    reason: `memory: ${showField('memory', change.to)} is below what it uses now (${inUse}); it keeps ${showField('memory', change.from)}`,
    hint: 'Free memory in the guest, or allow it with --allow-memory-below-use.',
  };
}

function mebibytes(value: FieldValue): number | null {
  return value !== null && /^\d+$/.test(value) ? Number(value) : null;
}

export function showField(name: FieldName, value: FieldValue): string {
  return fieldOf(name).show(value);
}
