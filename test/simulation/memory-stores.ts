import type { Journal } from '@felhom/durable/journal.ts';
import type { MarkerRead, MarkerStore } from '@felhom/durable/marker-store.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { z } from 'zod';

/*
 * Stores for simulations. A *place* is what survives a crash; a *store* opened over it is what a process holds. Both
 * keep the contracts of packages/durable, held to by the suites that the file-backed ones pass too. A write takes
 * effect at once and as a whole: where a crash falls before or after it is for the wrapper around the ports to say.
 */

/** What survives of a marker. */
export interface MarkerPlace<T> {
  /** A process's store over this place. */
  open(): MarkerStore<T>;
  /** What a person or a broken disk did to both copies. */
  damage(kind: Exclude<MarkerRead<T>['kind'], 'present'>, mtimeMs?: number): void;
  /** Whether anything at all is there: the invariant is "no marker remains". */
  isEmpty(): boolean;
  /** A copy of the place as it is now: what a snapshot of the guest holds. */
  fork(): MarkerPlace<T>;
}

type Held =
  | { kind: 'absent' }
  | { kind: 'text'; text: string }
  | { kind: 'newer' }
  | { kind: 'unreadable'; mtimeMs: number };

/** A marker in memory. Values are kept as JSON text, so that nobody shares one with whoever wrote it. */
export function markerPlace<T>(schema: z.ZodType<T>, held: Held = { kind: 'absent' }): MarkerPlace<T> {
  let now = held;
  const read = async (): Promise<MarkerRead<T>> => {
    if (now.kind === 'absent') return { kind: 'absent' };
    if (now.kind === 'newer') return { kind: 'newer', version: 2 };
    if (now.kind === 'unreadable')
      return { kind: 'unreadable', reason: 'it is truncated or not ours', mtimeMs: now.mtimeMs };
    return { kind: 'present', value: schema.parse(JSON.parse(now.text)) };
  };
  const write = async (value: T): Promise<void> => {
    now = { kind: 'text', text: textOf(schema, value) };
  };
  const erase = async (): Promise<void> => {
    now = { kind: 'absent' };
  };
  return {
    open: () => ({ read, write, erase, sweep: async () => undefined }),
    damage: (kind, mtimeMs = 0) => {
      now = kind === 'unreadable' ? { kind, mtimeMs } : { kind };
    },
    isEmpty: () => now.kind === 'absent',
    fork: () => markerPlace(schema, now),
  };
}

/** What survives of a journal. */
export interface JournalPlace<R> {
  /** A process's journal over this place. Throws Failure `busy` while another one is open. */
  open(): Promise<Journal<R>>;
  /** The process that had it open died: the kernel frees its lock, and what it still does has no effect. */
  crash(): void;
  /** What is durably recorded, without opening it. */
  records(): readonly R[];
}

export interface JournalPlaceOptions<R> {
  schema: z.ZodType<R>;
  keep: (records: readonly R[]) => readonly R[];
}

/** A journal in memory. */
export function journalPlace<R>({ schema, keep }: JournalPlaceOptions<R>): JournalPlace<R> {
  let lines: string[] = [];
  let writer: symbol | null = null;
  const all = (): R[] => lines.map((line) => schema.parse(JSON.parse(line)));
  const openNow = (): Journal<R> => {
    const us = Symbol('writer');
    writer = us;
    const requireOurs = (): void => {
      if (writer !== us)
        throw new Failure('bug', { message: 'the journal was used after it was closed', hint: 'A defect.' });
    };
    return {
      problems: [],
      records: all,
      append: async (record) => {
        requireOurs();
        lines.push(textOf(schema, record));
      },
      compact: async () => {
        requireOurs();
        lines = keep(all()).map((record) => textOf(schema, record));
      },
      close: async () => {
        if (writer === us) writer = null;
      },
    };
  };
  return {
    open: async () => {
      if (writer === null) return openNow();
      throw new Failure('busy', { message: 'another process writes the journal', hint: 'Let it finish.' });
    },
    crash: () => {
      writer = null;
    },
    records: all,
  };
}

function textOf<T>(schema: z.ZodType<T>, value: T): string {
  const text = JSON.stringify(value);
  const parsed = schema.safeParse(JSON.parse(text));
  if (parsed.success) return text;
  throw new Failure('bug', { message: `a value does not fit its schema: ${parsed.error.message}`, hint: 'A defect.' });
}
