import { z } from 'zod';

const storageSpec = z.object({
  id: z.string(),
  dir: z.string(),
  kind: z.enum(['dir', 'pbs']).optional(),
  prune: z.string().optional(),
  active: z.boolean().optional(),
  content: z.string().optional(),
});

const milliseconds = z.number().min(0);

/** What a worker is handed: everything a vzdump task needs, so that it outlives the simulator that started it. */
export const vzdumpJob = z.object({
  upid: z.string(),
  state: z.string(),
  cluster: z.string().nullable(),
  node: z.string(),
  /** When the POST came, in milliseconds since the epoch. */
  postedAtMs: z.number(),
  vmids: z.array(z.number().int()),
  /** Guests the token may not back up: an error each, or left out of an `all` job. */
  forbidden: z.array(z.number().int()),
  all: z.boolean(),
  /** The parameters as given, for defaults of the node's configuration to fill. */
  options: z.record(z.string(), z.union([z.string(), z.number(), z.array(z.string())])),
  cmdline: z.string(),
  confFile: z.string().nullable(),
  storages: z.array(storageSpec),
  delays: z.object({
    workerStartMs: milliseconds,
    jobStartMs: milliseconds,
    backupStartMs: milliseconds,
    preStopMs: milliseconds,
    snapshotMs: milliseconds,
    finishMs: milliseconds,
    powerMs: milliseconds,
  }),
});
export type VzdumpJob = z.infer<typeof vzdumpJob>;

/** The options of a job after the node's configuration and vzdump's own defaults filled what the caller left out. */
export interface VzdumpOptions {
  mode: 'snapshot' | 'suspend' | 'stop';
  storage: string;
  compress: '0' | 'gzip' | 'zstd' | 'lzo';
  script: string | null;
  notesTemplate: string;
  protected: boolean;
  remove: boolean;
  prune: string | null;
  lockwaitMinutes: number;
  /** How long a guest may take to shut down before it is stopped by force; 0: without limit. */
  stopwaitMinutes: number;
  /** KiB/s; 0 is unlimited. */
  bwlimit: number;
  ionice: number;
  excludePaths: string[];
  stdexcludes: boolean;
}
