import { z } from 'zod';
import { keptFile, upgradeDebt } from './debt.ts';

/** What is kept of a stack between upgrades. Past tense: no debt is proven by it. */
export const memoryVersion = 1;

const text = z.string().max(4096);
/** Has a part for each service. */
const longText = z.string();

/** A target that was rolled back: it is not tried again until a person allows it. */
export const knownBad = z.object({
  key: longText,
  /** By image id: another name for the same image is the same target. */
  image_ids: z.array(text),
  at: text,
  why: longText,
});
export type KnownBad = z.infer<typeof knownBad>;

/** The definition from which the containers that run were made, as long as it is known. */
export const definition = z.object({
  /** Compose's own hash on each service's containers. */
  hashes: z.record(z.string(), z.string()),
  files: z.array(keptFile),
});
export type Definition = z.infer<typeof definition>;

export const lastGood = z.object({
  stack: text,
  definition: definition.nullable(),
  /** The upgrade that brought the present version: what `upgrade rollback` takes back. */
  previous: upgradeDebt.nullable(),
});
export type LastGood = z.infer<typeof lastGood>;

const rung = z.object({
  name: z.enum(['containers', 'health', 'probe', 'stable', 'disk']),
  result: z.enum(['passed', 'failed', 'skipped']),
  detail: longText,
});
export type Rung = z.infer<typeof rung>;

const gate = z.object({
  name: text,
  state: z.enum(['open', 'closed', 'forced']),
  soft: z.boolean(),
  why: z.string().nullable(),
});

/** What the phase machine keeps with its phase. */
export const upgradeNotes = z.object({
  run_id: text,
  changes: z.array(z.object({ service: text, kind: text, from: z.string().nullable(), to: z.string().nullable() })),
  gates: z.array(gate),
  /** The last climb of the health ladder. */
  rungs: z.array(rung),
  snapshot_id: text.nullable(),
  not_rolled_back: z.array(z.object({ what: z.string(), why: z.string() })),
  downtime_ms: z.number().nullable(),
  last_success_at: text.nullable(),
  /** The new version is not healthy and too old to be taken back by itself. */
  waits_for_person: z.boolean(),
});
export type UpgradeNotes = z.infer<typeof upgradeNotes>;
