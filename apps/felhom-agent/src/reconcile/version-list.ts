import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@felhom/kernel/clock.ts';
import { z } from 'zod';
import type { VersionList } from './change-hint.ts';

/*
 * Two files that the cluster filesystem makes up when they are read (pve-cluster, src/pmxcfs/status.c,
 * cfs_create_vmlist_msg and cfs_create_version_msg). The versions are counters of the running
 * filesystem process and begin anew with it, which its start time tells. "ids" is left out while
 * there is no guest.
 */
const listFile = z.object({
  ids: z.record(z.string().regex(/^\d{1,9}$/), z.object({ node: z.string(), version: z.number().int() })).default({}),
});
const versionFile = z.object({ starttime: z.number().int().positive() });

const largestBytes = 4 * 1024 * 1024;
const patienceMs = 2_000;

/**
 * Reads the version list below `folder` (`/etc/pve`). Null for whatever cannot be read, parsed, or had
 * within two seconds; a read that hangs (the filesystem is a process of its own) is waited for by
 * nobody, and no second one is begun beside it.
 */
export function versionListIn(folder: string, clock: Pick<Clock, 'sleep'>): () => Promise<VersionList | null> {
  let underWay: Promise<VersionList | null> | null = null;
  return async () => {
    if (underWay !== null) return null;
    const reading = readList(folder).finally(() => {
      underWay = null;
    });
    underWay = reading;
    const enough = new AbortController();
    try {
      return await Promise.race([reading, clock.sleep(patienceMs, enough.signal).then(() => null)]);
    } finally {
      enough.abort();
    }
  };
}

/** The start time is read on both sides of the list: a list of another start than the one it is taken for would lie. */
async function readList(folder: string): Promise<VersionList | null> {
  try {
    const before = await startTime(folder);
    const { ids } = listFile.parse(await readJson(join(folder, '.vmlist')));
    if ((await startTime(folder)) !== before) return null;
    const guests = Object.entries(ids).map(([vmid, { node, version }]) => [Number(vmid), { node, version }] as const);
    return { generation: String(before), guests: new Map(guests) };
  } catch {
    return null; // A hint that cannot be had is no fault: everything is read then.
  }
}

async function startTime(folder: string): Promise<number> {
  return versionFile.parse(await readJson(join(folder, '.version'))).starttime;
}

/** The files say of themselves that they have no size: they are read to their end, or to the bound. */
async function readJson(path: string): Promise<unknown> {
  const file = await open(path, 'r');
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(65_536), 0, 65_536, null);
      if (bytesRead === 0) return JSON.parse(Buffer.concat(chunks).toString('utf8'));
      bytes += bytesRead;
      if (bytes > largestBytes) throw new Error(`${path} is longer than ${largestBytes} bytes`);
      chunks.push(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}
