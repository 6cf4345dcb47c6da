import type { ListedSnapshot } from '../volume-snapshots/contract.ts';

/** A snapshot as every command's JSON shows it. */
export interface SnapshotSeen {
  id: string;
  last_good: boolean;
  /** Why it cannot be used; null: it can, as far as its manifest tells. */
  damaged: string | null;
  created_at: string | null;
  reason: string | null;
  /** Whether hashes were recorded. */
  sealed: boolean;
  content_bytes: number;
  stored_bytes: number;
  sources: {
    name: string;
    kind: 'volume' | 'bind';
    method: 'archive' | 'tree';
    content_bytes: number;
    skipped: string[];
  }[];
  files: string[];
  images: { service: string; image: string; id: string }[];
}

export function describeSnapshot(listed: ListedSnapshot): SnapshotSeen {
  const { id, isLastGood } = listed;
  if (listed.kind === 'damaged') {
    const unknown = { created_at: null, reason: null, sealed: false, content_bytes: 0, stored_bytes: 0 };
    return { id, last_good: isLastGood, damaged: listed.why, ...unknown, sources: [], files: [], images: [] };
  }
  const { created_at, reason, sources, files, images } = listed.manifest;
  return {
    id,
    last_good: isLastGood,
    damaged: null,
    created_at,
    reason,
    sealed: sources.every(({ seal }) => seal !== null),
    content_bytes: sources.reduce((sum, each) => sum + each.content_bytes, 0),
    stored_bytes: sources.reduce((sum, each) => sum + each.stored_bytes, 0),
    sources: sources.map(({ name, kind, method, content_bytes, skipped }) => ({
      name,
      kind,
      method,
      content_bytes,
      skipped,
    })),
    files: files.map(({ path }) => path),
    images,
  };
}
