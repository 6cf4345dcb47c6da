import { z } from 'zod';
import { debt } from '../quiesce/marker.ts';

/**
 * The debt of an upgrade, in the present tense: this stack is between two versions. It holds everything that a
 * recovery needs to bring the old version back, and is durable, twice, before the first container stops. It goes only
 * when the new version was seen healthy, or the old one running again.
 */
export const upgradeDebtVersion = 1;

const text = z.string().max(4096);
/** Has a part for each service: however many there are, what is owed can be written. */
const longText = z.string();

/** A Compose or env file, whole, as it stood. */
export const keptFile = z.object({
  path: text,
  mode: z.number().int(),
  uid: z.number().int(),
  gid: z.number().int(),
  base64: z.string(),
});
export type KeptFile = z.infer<typeof keptFile>;

export const projectFiles = z.object({
  project: text,
  composeFiles: z.array(text),
  envFiles: z.array(text),
  workingDir: text.nullable(),
});

const policy = z.enum(['no', 'always', 'unless-stopped', 'on-failure']);

/** A service of the old version, as it is made again. */
export const oldService = z.object({
  name: text,
  image_ref: text,
  image_id: text,
  /** Compose's own, of its first container: what tells whether other files make the same of it. Empty: not known. */
  config_hash: text.default(''),
  /** `repository@sha256:…`: by these it is fetched again where it was pruned. */
  digests: z.array(text).default([]),
  /** It ran, or was in a crash loop. What was off is not brought up. */
  ran: z.boolean(),
  was_healthy: z.boolean(),
  /** Others wait for it to complete: it ends with 0, and that is well. */
  task: z.boolean(),
  /** Volumes without a name of their own, which only a container's mounts know, by the number of that container. */
  anonymous: z.array(z.object({ volume: text, target: text, number: z.number().int().default(1) })),
});
export type OldService = z.infer<typeof oldService>;

export const upgradeDebt = z.object({
  run_id: text,
  stack: text,
  engine_id: text,
  boot_id: text,
  written_at_ms: z.number(),
  deadline_at_ms: z.number(),
  /**
   * `staged`: only stops and restart policies are owed. `activated`: something of the new version may exist.
   * `verifying`: it was started whole. `rolling_back`: the old version is being put back, from whatever point.
   */
  phase: z.enum(['staged', 'activated', 'verifying', 'rolling_back']),
  /** Why it is rolled back. */
  reason: longText.nullable(),
  /** By a person: `ended` is Ctrl-C, which says nothing of the target; `back` is `upgrade rollback`. */
  asked: z.enum(['no', 'ended', 'back']),
  activated_at_ms: z.number().nullable(),
  files: projectFiles,
  /** Containers that ran before. */
  containers: z.array(debt),
  policies: z.array(z.object({ id: text, name: policy, retries: z.number().int() })),
  old: z.array(oldService),
  /** Compose and env files of the old version that differ from what lies on disk. */
  old_files: z.array(keptFile),
  /** The same files as the upgrade found them: only these are replaced by a rollback. */
  new_files: z.array(keptFile),
  /** Services of the new version that are brought up. */
  up: z.array(text),
  /** Services of the old version that the new one does not have. */
  dropped: z.array(text),
  target: z.object({ key: longText, images: z.array(z.object({ service: text, ref: text, id: text })) }),
  /** Failed climbs of the health ladder, in a row, until it is rolled back. */
  rollback_after: z.number().int().min(1),
  /** The data as it was; null: not taken yet, or (`data: none`) not to be had. */
  snapshot_id: text.nullable(),
  /** What was written since the upgrade is to be kept before the data is replaced: it has lived on. */
  keep_since: z.boolean().default(false),
  /** The snapshot that holds it. */
  since_id: text.nullable().default(null),
  /** It is back in its place: what the old version has written since is not to be lost. */
  data_restored: z.boolean().default(false),
  /** The old version was made, and not all of it runs yet: what runs is not taken down for another try. */
  old_made: z.boolean().default(false),
  /** Files that set room aside for the way back: an app may fill the disk. */
  reserved: z.array(text),
  data: z.enum(['snapshot', 'none']),
});
export type UpgradeDebt = z.infer<typeof upgradeDebt>;
export type DebtPhase = UpgradeDebt['phase'];
