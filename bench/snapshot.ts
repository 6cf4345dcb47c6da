import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type GuestLab, openGuestLab } from '@felhom/test/lab/guest-lab.ts';
import { must } from '@felhom/test/lab/process.ts';
import { quickUpgrades } from '@felhom/test/lab/upgrades.ts';
import { median, round } from './median.ts';

/** Pairs of floor and ours that count, after one that warms caches. */
const sizes = [
  { sizeMb: 100, rounds: 8 },
  { sizeMb: 2_000, rounds: 5 },
] as const;

interface SnapshotRow {
  size_mb: number;
  filesystem: 'ext4' | 'btrfs';
  /**
   * Median over the pairs of the downtime that `upgrade apply` reports to the floor beside it: stop, read, *durable on the
   * disk*, the containers of the new version made and started, where the floor starts those that it stopped.
   */
  ratio: number;
  /** The same of `snapshot create --quiesce`, whose apps are back before the disk has everything. */
  ratio_quiesce: number;
  upgrade_ms: number;
  quiesce_ms: number;
  floor_ms: number;
}

export interface SnapshotResult {
  schema: 'felhom.bench.snapshot/1';
  /** What the design allows on ext4. */
  limit: number;
  vs_floor: SnapshotRow[];
}

/**
 * The downtime of an upgrade, and of a snapshot alone, beside bare stop, copy, start: `tar --zstd` on ext4 (as many threads as ours), `cp --reflink`
 * on btrfs, every source side by side. Neither floor waits for the disk. All take turns on the same stack.
 */
export async function measureSnapshot(): Promise<SnapshotResult> {
  const rows: SnapshotRow[] = [];
  for (const filesystem of ['ext4', 'btrfs'] as const) {
    const lab = await openGuestLab({
      kind: filesystem,
      sizeMiB: 16_384,
      images: ['felhom/busybox:test', 'felhom/postgres:test'],
    });
    try {
      await appendFile(join(lab.root, 'controller.yaml'), `upgrade: ${JSON.stringify(quickUpgrades)}\n`);
      const app = await makeVersions(lab);
      const project = await lab.addStack('shop', shop);
      for (const { sizeMb, rounds } of sizes) {
        await must('sh', ['-c', `head -c ${sizeMb}000000 /dev/urandom >"$0"`, join(project, 'files/random')]);
        rows.push(await compare({ lab, project, app, filesystem }, { sizeMb, rounds }));
      }
    } finally {
      await lab.close();
    }
  }
  return { schema: 'felhom.bench.snapshot/1', limit: 1.15, vs_floor: rows };
}

const ways = ['floor', 'upgrade', 'quiesce'] as const;
type Took = Record<(typeof ways)[number], number>;

/** A stack on a file system, one of whose two services has another version to go to. */
interface Measured {
  lab: GuestLab;
  project: string;
  app: { other(): Promise<void> };
  filesystem: 'ext4' | 'btrfs';
}

async function compare(
  measured: Measured,
  { sizeMb, rounds }: { sizeMb: number; rounds: number },
): Promise<SnapshotRow> {
  const { lab, filesystem } = measured;
  const measure = {
    floor: async () => await measureFloor(measured),
    upgrade: async () => await measureUpgrade(measured),
    quiesce: async () => await measureQuiesce(measured),
  };
  const all: Took[] = [];
  for (let at = -1; at < rounds; at += 1) {
    const took: Took = { floor: 0, upgrade: 0, quiesce: 0 };
    // Who goes first takes turns: what one leaves behind must not always burden the same other.
    for (const way of at % 2 === 0 ? ways : ways.toReversed()) {
      await settle(lab);
      took[way] = await measure[way]();
    }
    const words = ways.map((way) => `${way} ${round(took[way], 0)} ms`).join(', ');
    process.stderr.write(`bench: ${filesystem}, ${sizeMb} MB: ${words}\n`);
    if (at >= 0) all.push(took);
  }
  const middle = (pick: (took: Took) => number, digits: number): number => round(median(all.map(pick)), digits);
  return {
    size_mb: sizeMb,
    filesystem,
    ratio: middle(({ floor, upgrade }) => upgrade / floor, 3),
    ratio_quiesce: middle(({ floor, quiesce }) => quiesce / floor, 3),
    upgrade_ms: middle(({ upgrade }) => upgrade, 0),
    quiesce_ms: middle(({ quiesce }) => quiesce, 0),
    floor_ms: middle(({ floor }) => floor, 0),
  };
}

/** Bare commands, as a careful person would type them. */
async function measureFloor({ lab, project, filesystem }: Measured): Promise<number> {
  const target = join(lab.root, 'floor');
  await mkdir(target);
  const copies = {
    ext4: 'tar --create --zstd --numeric-owner --file "$1/$2.tar.zst" --directory "$0/$2" .',
    btrfs: 'cp -a --reflink=always "$0/$2" "$1/$2"',
  };
  const begunMs = performance.now();
  await lab.engine.docker('compose', '-p', 'shop', 'stop');
  const env = { ...process.env, ZSTD_NBTHREADS: '0' };
  await Promise.all(
    ['pgdata', 'files'].map(
      async (name) => await must('sh', ['-c', copies[filesystem], project, target, name], { env, boundMs: 600_000 }),
    ),
  );
  await lab.engine.docker('compose', '-p', 'shop', 'start');
  return performance.now() - begunMs;
}

/** The downtime that `upgrade apply` reports: the whole way, to the next version of one of two services. */
async function measureUpgrade({ lab, app, filesystem }: Measured): Promise<number> {
  await app.other();
  const end = await lab.inGuest('upgrade', 'apply', 'shop', '--json');
  const result: { outcome: string; downtime_ms: number | null } = JSON.parse(end.stdout);
  if (end.code !== 0 || result.outcome !== 'success' || result.downtime_ms === null)
    throw new Error(`the measured upgrade ended ${end.code}: ${end.stdout}${end.stderr}`);
  const [kept] = await lab.snapshots.list('shop');
  requireMethod(kept?.kind === 'readable' ? kept.manifest.sources : [], filesystem);
  return result.downtime_ms;
}

/** The downtime that `snapshot create --quiesce` reports. */
async function measureQuiesce({ lab, filesystem }: Measured): Promise<number> {
  const end = await lab.inGuest('snapshot', 'create', 'shop', '--quiesce', '--json');
  const result: { downtime_ms: number | null; snapshot: { sources: { method: string }[] } | null } = JSON.parse(
    end.stdout,
  );
  requireMethod(result.snapshot?.sources ?? [], filesystem);
  if (end.code !== 0 || result.downtime_ms === null)
    throw new Error(`the measured snapshot ended ${end.code}: ${end.stdout}${end.stderr}`);
  return result.downtime_ms;
}

/** A snapshot that was taken in another way would be no comparison. */
function requireMethod(sources: readonly { method: string }[], filesystem: 'ext4' | 'btrfs'): void {
  const method = filesystem === 'ext4' ? 'archive' : 'tree';
  if (sources.length === 2 && sources.every((source) => source.method === method)) return;
  throw new Error(`the measured snapshot was not taken as ${method}: ${JSON.stringify(sources)}`);
}

/** Two versions of the app, which differ by a label. `other`: its name leads to the other one from now on. */
async function makeVersions(lab: GuestLab): Promise<{ other(): Promise<void> }> {
  const folder = join(lab.root, 'images');
  await mkdir(folder);
  for (const version of [0, 1]) {
    await writeFile(join(folder, 'Dockerfile'), `FROM felhom/busybox:test\nLABEL felhom.version=${version}\n`);
    await lab.engine.docker('build', '--quiet', '--tag', `felhom/app:${version}`, folder);
  }
  let now = 1;
  const other = async (): Promise<void> => {
    now = 1 - now;
    await lab.engine.docker('tag', `felhom/app:${now}`, 'felhom/app:current');
  };
  await other();
  return { other };
}

/** The same start for every run: nothing of the run before, everything written. */
async function settle(lab: GuestLab): Promise<void> {
  await rm(join(lab.root, 'floor'), { recursive: true, force: true });
  await rm(join(lab.root, 'felhom/snapshots'), { recursive: true, force: true });
  await must('sync', ['-f', lab.root], { boundMs: 600_000 });
}

const shop = `
services:
  db:
    image: felhom/postgres:test
    restart: unless-stopped
    volumes: ["./pgdata:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -q -h 127.0.0.1 -U postgres"]
      interval: 1s
      retries: 30
      start_period: 3s
  app:
    image: felhom/app:current
    restart: unless-stopped
    depends_on: [db]
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2 & wait $$!; done"]
    volumes: ["./files:/files"]
`;
