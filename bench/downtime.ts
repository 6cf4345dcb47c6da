import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { backUp } from '@felhom/test/lab/backup.ts';
import { type Lab, openLab } from '@felhom/test/lab/lab.ts';
import { must } from '@felhom/test/lab/process.ts';
import { type BareVzdump, bareVzdump } from './bare-vzdump.ts';
import { type Gate, measureFloor, measureStopCopyStart } from './floor.ts';
import { median, round } from './median.ts';
import { stacks } from './stacks.ts';

/** Pairs of floor and ours that count, after one that warms caches: fewer where an archive takes long. */
const sizes = [
  { sizeMb: 100, rounds: 8 },
  { sizeMb: 2_000, rounds: 6 },
] as const;
const gates: readonly Gate[] = ['hook', 'log'];

interface FloorRow {
  size_mb: number;
  gate: Gate;
  /** Median over the pairs of ours to the floor beside it; the milliseconds are medians too. */
  ratio: number;
  ours_ms: number;
  floor_ms: number;
}

interface CopyRow {
  size_mb: number;
  ratio: number;
  ours_ms: number;
  stop_copy_start_ms: number;
}

export interface DowntimeResult {
  schema: 'felhom.bench.downtime/1';
  /** What the design allows in every row of `vs_floor`. */
  limit: number;
  vs_floor: FloorRow[];
  vs_stop_copy_start: CopyRow[];
}

/**
 * The downtime of our backups beside the least that bare Compose and the same simulator need, and beside stopping for
 * the whole copy. Floor and ours take turns on the same guest, so that a machine which slows down slows both.
 */
export async function measureDowntime(): Promise<DowntimeResult> {
  const vsFloor: FloorRow[] = [];
  const vsCopy: CopyRow[] = [];
  for (const gate of gates) {
    const lab = await openLab({ gate });
    const vzdump = await bareVzdump(lab);
    try {
      for (const [name, compose] of Object.entries(stacks)) await lab.addStack(name, compose);
      for (const { sizeMb, rounds } of sizes) {
        await fill(lab, sizeMb);
        const row = await compareWithFloor({ lab, gate, sizeMb, rounds, vzdump });
        vsFloor.push(row);
        if (gate === 'hook') vsCopy.push(await compareWithCopy(lab, row));
      }
    } finally {
      await vzdump.close();
      await lab.close();
    }
  }
  return { schema: 'felhom.bench.downtime/1', limit: 1.1, vs_floor: vsFloor, vs_stop_copy_start: vsCopy };
}

interface Comparison {
  lab: Lab;
  gate: Gate;
  sizeMb: number;
  rounds: number;
  vzdump: BareVzdump;
}

async function compareWithFloor({ lab, gate, sizeMb, rounds, vzdump }: Comparison): Promise<FloorRow> {
  const floor: number[] = [];
  const ours: number[] = [];
  for (let at = -1; at < rounds; at += 1) {
    // Who goes first takes turns too: what one leaves behind must not always burden the other.
    const first = at % 2 === 0 ? 'floor' : 'ours';
    const took = { floor: 0, ours: 0 };
    for (const who of first === 'floor' ? (['floor', 'ours'] as const) : (['ours', 'floor'] as const)) {
      await settle(lab);
      took[who] = who === 'floor' ? await measureFloor(lab, gate, vzdump) : await measureOurs(lab, gate);
    }
    tell(`${gate} gate, ${sizeMb} MB: floor ${round(took.floor, 0)} ms, ours ${round(took.ours, 0)} ms`);
    if (at < 0) continue;
    floor.push(took.floor);
    ours.push(took.ours);
  }
  return {
    size_mb: sizeMb,
    gate,
    ratio: round(median(ours.map((ms, at) => ms / (floor[at] ?? Number.NaN))), 3),
    ours_ms: round(median(ours), 0),
    floor_ms: round(median(floor), 0),
  };
}

async function compareWithCopy(lab: Lab, { size_mb, ours_ms }: FloorRow): Promise<CopyRow> {
  await settle(lab);
  const copy = async (to: string): Promise<void> => {
    await must('tar', ['--create', '--zstd', '--numeric-owner', '--file', to, '--directory', lab.guest, '.'], {
      boundMs: 600_000,
    });
  };
  const copyMs = await measureStopCopyStart(lab, copy);
  tell(`${size_mb} MB: stop, copy, start ${round(copyMs, 0)} ms`);
  return { size_mb, ratio: round(ours_ms / copyMs, 4), ours_ms, stop_copy_start_ms: round(copyMs, 0) };
}

/** The downtime that a backup reports; throws unless it is whole and app-consistent, because less would look fast. */
async function measureOurs(lab: Lab, gate: Gate): Promise<number> {
  const { code, result } = await backUp(lab);
  if (code !== 0 || result.grade !== 'app-consistent' || result.gate !== gate || result.downtime_ms === null) {
    throw new Error(`the measured backup ended ${code}: ${JSON.stringify(result)}`);
  }
  return result.downtime_ms;
}

/** The same start for every run: everything written, no archive of the run before, the next second begun. */
async function settle(lab: Lab): Promise<void> {
  await rm(join(lab.folder, 'bk/dump'), { recursive: true, force: true });
  await mkdir(join(lab.folder, 'bk/dump'), { recursive: true });
  await must('sync', ['-f', lab.guest]);
  // vzdump names an archive by its second: two in one would be the same file.
  await new Promise((done) => setTimeout(done, 1_500));
}

/** Fills the guest up to the size with bytes that no compressor can shrink. */
async function fill(lab: Lab, sizeMb: number): Promise<void> {
  const folder = join(lab.guest, 'srv/files');
  await mkdir(folder, { recursive: true });
  await must('sh', ['-c', `head -c ${sizeMb}000000 /dev/urandom >"$0"`, join(folder, 'random')]);
}

function tell(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}
