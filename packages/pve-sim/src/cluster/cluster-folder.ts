import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { GuestRecord } from '../guests/guest-record.ts';
import { type GuestPlace, openGuests } from '../guests/guest-store.ts';
import { readJson, withFileLock, writeJson, writeWhole } from '../state/files.ts';

// Invariants:
// - The folder stands for /etc/pve: `.vmlist` and `.version` lie in it, and whatever files people put there.
//   What only the simulator needs is below `.sim`.
// - A guest is a file in the folder of exactly one node: migration is a rename.
// - A configuration is written before its version moves. Versions are counters of one start of the
//   filesystem: `restart` hands them out anew, from 1.

/** What the nodes of a simulated cluster share. */
export interface ClusterFolder {
  /** Makes a node known; twice is once. */
  join(node: ClusterNode): void;
  nodes(): ClusterNode[];
  /** Where the guests of a node are. */
  place(node: string): GuestPlace;
  /** The node that has the guest; null where none has. */
  whereIs(vmid: number): string | null;
  guests(): { node: string; guest: GuestRecord }[];
  /** A list that lies: while frozen it does not move, whatever is written. */
  freezeList(frozen: boolean): void;
  /** The cluster filesystem begins anew: another start time, other versions. */
  restart(): void;
}

const clusterNode = z.object({ name: z.string(), url: z.string(), fingerprint: z.string() });
export type ClusterNode = z.infer<typeof clusterNode>;

const vmList = z.object({
  version: z.number().int(),
  ids: z
    .record(z.string(), z.object({ node: z.string(), type: z.enum(['lxc', 'qemu']), version: z.number().int() }))
    .default({}),
});
type VmList = z.infer<typeof vmList>;
const versionFile = z.object({ starttime: z.number().int(), vmlist: z.number().int() });

export function openCluster(folder: string): ClusterFolder {
  const own = join(folder, '.sim');
  const nodesFolder = join(own, 'nodes');
  const names = (): string[] => (existsSync(nodesFolder) ? readdirSync(nodesFolder).toSorted() : []);
  const list = vmListIn(folder, own);
  const place = (node: string): GuestPlace => ({
    folder: join(nodesFolder, node, 'guests'),
    locks: join(own, 'locks'),
    written: ({ vmid, kind }) => list.change((ids, version) => (ids[vmid] = { node, type: kind, version })),
    removed: (vmid) => list.change((ids) => delete ids[vmid]),
  });
  const guests = (): { node: string; guest: GuestRecord }[] =>
    names().flatMap((node) =>
      openGuests(place(node))
        .list()
        .map((guest) => ({ node, guest })),
    );
  return {
    join: (node) => {
      mkdirSync(place(node.name).folder, { recursive: true });
      writeJson(join(nodesFolder, node.name, 'node.json'), node);
      list.begin();
    },
    nodes: () => names().flatMap((name) => readJson(join(nodesFolder, name, 'node.json'), clusterNode) ?? []),
    place,
    whereIs: (vmid) => names().find((node) => openGuests(place(node)).get(vmid) !== null) ?? null,
    guests,
    freezeList: list.freeze,
    restart: list.restart,
  };
}

function vmListIn(folder: string, own: string) {
  const [path, versionPath, frozen] = [join(folder, '.vmlist'), join(folder, '.version'), join(own, 'frozen')];
  const alone = (body: () => void): void => withFileLock(join(own, 'locks', 'vmlist'), body);
  const write = (list: VmList, starttime: number): void => {
    const { ids, version } = list;
    // As the real one, which leaves the ids out while there is no guest.
    writeJson(path, Object.keys(ids).length === 0 ? { version } : list);
    writeWhole(versionPath, `${JSON.stringify({ starttime, clinfo: 1, vmlist: version })}\n`);
  };
  const read = (): { list: VmList; starttime: number } => ({
    list: readJson(path, vmList) ?? { version: 0, ids: {} },
    starttime: readJson(versionPath, versionFile)?.starttime ?? Math.floor(Date.now() / 1000),
  });
  return {
    begin: () =>
      alone(() => {
        if (!existsSync(path)) write(read().list, read().starttime);
      }),
    change: (edit: (ids: VmList['ids'], version: number) => void) =>
      alone(() => {
        if (existsSync(frozen)) return;
        const { list, starttime } = read();
        list.version += 1;
        edit(list.ids, list.version);
        write(list, starttime);
      }),
    freeze: (on: boolean) => (on ? writeWhole(frozen, '') : rmSync(frozen, { force: true })),
    restart: () =>
      alone(() => {
        const { list, starttime } = read();
        const renumbered = Object.entries(list.ids).map(([vmid, entry], index) => [
          vmid,
          { ...entry, version: index + 1 },
        ]);
        write({ version: renumbered.length, ids: Object.fromEntries(renumbered) }, starttime + 1);
      }),
  };
}

/** Where a node of ours keeps its guests: in its own state, or in the cluster's folder. */
export function guestPlace({
  state,
  node,
  cluster,
}: {
  state: string;
  node: string;
  cluster: string | null;
}): GuestPlace {
  if (cluster !== null) return openCluster(cluster).place(node);
  return { folder: join(state, 'guests'), locks: join(state, 'locks') };
}
