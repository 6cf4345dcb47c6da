import { createHash } from 'node:crypto';
import { z } from 'zod';

/**
 * What a snapshot says of itself. It stands in `manifest.json` with a checksum of its own, so that a
 * flipped bit in it is told from something that was meant.
 */
export const manifestVersion = 1;

const text = z.string().max(4096);
const count = z.number().int().nonnegative();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** Names in the snapshot's own folder that we made: nothing else is ever opened through a manifest. */
const stored = z.string().regex(/^(?:files|data)\/\d{1,4}(?:\.tar\.zst)?$/);

export const snapshotId = z.string().regex(/^\d{8}T\d{9}-[0-9a-f]{6}$/);

const keptFile = z.object({
  path: text,
  /** `compose`: a Compose file or one that it includes. `env`: what Compose interpolates from. `env_file`: what a service is given. */
  role: z.enum(['compose', 'env', 'env_file']),
  stored,
  bytes: count,
  sha256,
  mode: count,
  uid: count,
  gid: count,
});
export type KeptFile = z.infer<typeof keptFile>;

const keptSource = z.object({
  name: text,
  kind: z.enum(['volume', 'bind']),
  path: text,
  services: z.array(text),
  method: z.enum(['archive', 'tree']),
  stored,
  /** Of an archive: its size. Of a tree: 0. */
  stored_bytes: count,
  /** What it took on the disk when it was captured. */
  content_bytes: count,
  /** What a seal adds; null until then. */
  seal: z.object({ sha256, members: count, outside_links: count }).nullable(),
  /** Sockets, which nobody can keep. */
  skipped: z.array(text),
});
export type KeptSource = z.infer<typeof keptSource>;

export const manifestSchema = z.object({
  id: snapshotId,
  stack: text,
  created_at: text,
  reason: text,
  engine_id: text,
  project: z.object({ working_dir: text.nullable(), compose_files: z.array(text), env_files: z.array(text) }),
  files: z.array(keptFile),
  images: z.array(z.object({ service: text, image: text, id: text })),
  sources: z.array(keptSource),
  left_out: z.array(z.object({ what: text, why: text })),
  shared: z.array(z.object({ source: text, container: text, running: z.boolean() })),
});
export type Manifest = z.infer<typeof manifestSchema>;

/** As it lies on disk, inside the envelope of packages/durable. */
export const manifestFile = z
  .object({ checksum: sha256, manifest: manifestSchema })
  .refine(({ checksum, manifest }) => checksum === checksumOf(manifest), 'its checksum does not fit');
export type ManifestFile = z.infer<typeof manifestFile>;

export function withChecksum(manifest: Manifest): ManifestFile {
  const parsed = manifestSchema.parse(manifest);
  return { checksum: checksumOf(parsed), manifest: parsed };
}

/** Over the JSON of a manifest that the schema has parsed: what it knows, in its own order. */
function checksumOf(manifest: Manifest): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
}
