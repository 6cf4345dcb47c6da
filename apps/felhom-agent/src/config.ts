import { isAbsolute, relative } from 'node:path';
import { durationMs, sizeBytes } from '@felhom/cli/quantity-schema.ts';
import { z } from 'zod';
import { boundsSchema } from './bounds.ts';
import { documentConfigSchema } from './desired/document-config.ts';
import { desiredSchema } from './desired/schema.ts';
import { defaultPlaces } from './status/places.ts';

const storageName = z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,99}$/, 'expected the name of a storage, such as pbs');
const window = z
  .string()
  .regex(/^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/, 'expected a window such as 01:00-05:00');

/** One target of a guest's backups, and how often. */
const backupPolicy = z.strictObject({
  storage: storageName.optional(),
  every: durationMs().optional().describe('a backup is due when the newest good one is older'),
  schedule: z
    .enum(['pve'])
    .optional()
    .describe("pve: PVE's own jobs make the backups, gated by us; nothing is ever due"),
  window: window.optional().describe('local time in which scheduled backups may start'),
  max_age: durationMs().optional().describe('older than this is due outside the window too, and an alert'),
  min_grade: z
    .enum(['app-consistent', 'crash-consistent'])
    .optional()
    .describe('a backup below this grade does not count'),
  count_foreign: z.boolean().optional().describe("another's backups count too"),
  on_downgrade: z.enum(['abort', 'accept']).optional().describe('what to do when snapshot mode is not to be had'),
  mode: z.enum(['snapshot', 'suspend', 'stop']).optional(),
  compress: z.enum(['0', 'gzip', 'lzo', 'zstd']).optional(),
});

/** What is judged in the end: every field of a policy settled. */
export interface BackupPolicy {
  storage: string;
  everyMs: number | null;
  window: string | null;
  maxAgeMs: number | null;
  minGrade: 'app-consistent' | 'crash-consistent';
  countForeign: boolean;
  onDowngrade: 'abort' | 'accept';
  mode: 'snapshot' | 'suspend' | 'stop';
  compress: string;
}

const agentFields = z.strictObject({
  listen: z
    .string()
    .regex(/^(\[[0-9A-Fa-f:.]+\]|[^:\s]+):\d{1,5}$/, 'expected ADDRESS:PORT, such as 10.0.3.1:8470')
    .default(defaultPlaces.listen),
  node: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9-]{0,62}$/, 'expected the name of this node')
    .optional()
    .describe("this node's name; default: the host name"),
  pve: z.strictObject({
    url: z.url({ protocol: /^https$/, error: 'expected https://ADDRESS:8006' }),
    token_file: z.string(),
    fingerprint: z
      .string()
      .regex(/^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$/, 'expected a SHA-256 fingerprint such as AB:CD:…')
      .optional(),
    ca_file: z.string().optional(),
  }),
  state: z.string().default(defaultPlaces.state).describe('journal, guests, certificate'),
  socket: z.string().default(defaultPlaces.socket).describe('root-only socket of the hook and the commands'),
  guests: z
    .string()
    .default(defaultPlaces.guests)
    .describe('a folder with one file per guest, or one file with a document for each'),
  guests_document: documentConfigSchema.optional().describe('signed files of guests from a server, in place of guests'),
  cluster_files: z
    .string()
    .default('/etc/pve')
    .describe("where the cluster's filesystem lies, whose version list tells which configurations changed"),
  gate: z.enum(['auto', 'hook', 'log']).default('auto').describe('auto: hook where vzdump.conf names ours'),
  vzdump_conf: z.string().default('/etc/vzdump.conf'),
  hook: z
    .string()
    .default('felhom-vzdump-hook')
    .describe('path or file name by which our hook is known in vzdump.conf'),
  root_helper: z
    .string()
    .optional()
    .describe(
      'socket of the root helper, such as /run/felhom-root/helper.sock: it thaws a container whose snapshot hangs',
    ),
  signers: z
    .union([z.string(), z.array(z.string()).max(64)])
    .default([])
    .describe('who may sign irreversible operations: lines of `operation keygen`, or a folder of *.pub files'),
  pve_jobs: z.enum(['gate', 'require_quiesce', 'ignore']).default('gate').describe("what is done with PVE's own jobs"),
  defaults: z.strictObject({ backup: backupPolicy.optional() }).default({}),
  preflight: z
    .strictObject({
      headroom: sizeBytes('1GiB').describe('room kept free on the backup storage'),
      pool_full_percent: z.number().min(1).max(100).default(95).describe("a guest's own pool fuller than this refuses"),
    })
    .prefault({}),
  limits: z
    .strictObject({
      connections: z.number().int().min(1).default(256),
      per_address: z.number().int().min(1).default(32).describe('connections of one address, of those'),
      per_guest: z.number().int().min(1).default(16).describe('requests of one guest under way at a time'),
      headers: durationMs('10s').describe('for the headers of a request'),
      request: durationMs('30s').describe('for a whole request'),
      body: sizeBytes('256KiB'),
      header_bytes: sizeBytes('16KiB'),
      keys: z.number().int().min(1).default(64).describe('idempotency keys remembered per guest'),
      attempts: z
        .number()
        .int()
        .min(1)
        .default(12)
        .describe('backups that a guest may ask for within min_interval, however they end'),
      journal: sizeBytes('1MiB').describe(
        'the journal is compacted once it is larger, and twice as large as it was after that',
      ),
      mutations: z
        .number()
        .int()
        .min(1)
        .max(64)
        .default(4)
        .describe('guests that reconcile changes at a time, on the whole node'),
      config_reads: z
        .number()
        .int()
        .min(1)
        .max(64)
        .default(8)
        .describe('configurations that reconcile reads at a time'),
      actions_kept: z.number().int().min(1).default(1_000).describe('ended actions that the journal keeps'),
    })
    .prefault({}),
  reconcile: z
    .union([
      z.literal('off'),
      z.strictObject({ interval: durationMs('30s').describe('between two passes, give or take 10 %') }),
    ])
    .default('off')
    .describe('keeps the guests of this node as declared, inside serve'),
  bounds: boundsSchema,
});

export const agentConfigSchema = agentFields.refine(({ state, cluster_files: folder }) => !isBelow(state, folder), {
  path: ['state'],
  error:
    "it lies in the filesystem of the cluster, which is no place for one node's state: it has no locks and no chmod",
});
export type AgentConfig = z.output<typeof agentConfigSchema>;

function isBelow(path: string, folder: string): boolean {
  const from = relative(folder, path);
  return !isAbsolute(from) && from !== '..' && !from.startsWith('../');
}

export const guestFileSchema = z.strictObject({
  vmid: z.number().int().min(100).max(999_999_999),
  name: z.string().optional(),
  held: z.string().optional().describe('why this guest is left to a person'),
  token_sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'expected 64 hex digits')
    .optional()
    .describe('the hash of its token, where guests are kept cluster-wide'),
  backup: z.array(backupPolicy).optional(),
  desired: desiredSchema.optional(),
});
export type GuestFile = z.output<typeof guestFileSchema>;

type Written = z.output<typeof backupPolicy>;

/** The targets of a guest: its own, each completed by the defaults; the defaults alone where it names none. */
export function policiesOf(config: Pick<AgentConfig, 'defaults'>, guest: GuestFile | undefined): BackupPolicy[] {
  const fallback = config.defaults.backup ?? {};
  const written: Written[] = guest?.backup ?? (config.defaults.backup === undefined ? [] : [fallback]);
  return written.flatMap((own) => settle({ ...fallback, ...definedOf(own) }));
}

function definedOf(own: Written): Written {
  return Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
}

function settle(policy: Written): BackupPolicy[] {
  if (policy.storage === undefined) return [];
  const everyMs = policy.schedule === 'pve' ? null : (policy.every ?? 86_400_000);
  return [
    {
      storage: policy.storage,
      everyMs,
      window: policy.window ?? null,
      maxAgeMs: policy.max_age ?? null,
      minGrade: policy.min_grade ?? 'crash-consistent',
      countForeign: policy.count_foreign ?? false,
      onDowngrade: policy.on_downgrade ?? 'abort',
      mode: policy.mode ?? 'snapshot',
      compress: policy.compress ?? 'zstd',
    },
  ];
}

/** The policy of a storage; the guest's first one where none names it (a job of PVE's own). */
export function policyOf(policies: readonly BackupPolicy[], storage: string | null): BackupPolicy {
  const found = policies.find((policy) => policy.storage === storage) ?? policies[0];
  const fallback: BackupPolicy = {
    storage: storage ?? '',
    everyMs: null,
    window: null,
    maxAgeMs: null,
    minGrade: 'crash-consistent',
    countForeign: false,
    onDowngrade: 'abort',
    mode: 'snapshot',
    compress: 'zstd',
  };
  return found ?? fallback;
}
