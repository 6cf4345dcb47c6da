import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { median, round } from './median.ts';
import { bareScript } from './reconcile/bare.ts';
import { type OurPass, ourPass } from './reconcile/our-pass.ts';
import { type ManyGuests, startManyGuests } from './reconcile/simulated-node.ts';

const sizes = [10, 100, 1_000] as const;
/** Rounds that count, after those that only warm up. */
const rounds: Readonly<Record<number, number>> = { 10: 41, 100: 21, 1000: 9 };
const warmUps = 3;

export interface ReconcileResult {
  schema: 'felhom.bench.reconcile/1';
  node: string;
  /** A no-op pass in units of the bare script that makes the same requests. At most 1.2 at 1000. */
  vs_bare: { guests: number; ratio: number; ours_ms: number; bare_ms: number }[];
  /** The same in units of proxmoxer asking one by one. */
  vs_proxmoxer: { guests: number; ratio: number; proxmoxer_ms: number }[];
  /** Of one pass, at each size. */
  requests: { guests: number; requests: number }[];
  /** What a pass keeps alive at its end for each guest: declaration, observation, plan, report. At most 10240. */
  bytes_per_guest: number;
}

/** Passes in which nothing is to be done, side by side: ours, the bare script, ours, …; proxmoxer beside them at each size. */
export async function measureReconcile(): Promise<ReconcileResult> {
  const result: ReconcileResult = {
    schema: 'felhom.bench.reconcile/1',
    node: process.version,
    vs_bare: [],
    vs_proxmoxer: [],
    requests: [],
    bytes_per_guest: 0,
  };
  const heap: { guests: number; bytes: number }[] = [];
  for (const guests of sizes) {
    const folder = await mkdtemp(join(tmpdir(), 'felhom-bench-'));
    const node = await startManyGuests(folder, guests);
    try {
      const measured = await measureSize(folder, node, guests);
      result.vs_bare.push({ guests, ...measured.bare });
      result.vs_proxmoxer.push({ guests, ...measured.proxmoxer });
      result.requests.push({ guests, requests: measured.requests });
      heap.push({ guests, bytes: measured.heapBytes });
    } finally {
      await node.stop();
      await rm(folder, { recursive: true, force: true });
    }
  }
  const [few, many] = [heap[0], heap.at(-1)];
  if (few !== undefined && many !== undefined)
    result.bytes_per_guest = Math.round((many.bytes - few.bytes) / (many.guests - few.guests));
  return result;
}

async function measureSize(folder: string, node: ManyGuests, guests: number) {
  const vmids = Array.from({ length: guests }, (_, at) => 1_000 + at);
  const ours = await ourPass(folder, node, vmids);
  const bare = bareScript(node, ours.reads);
  try {
    const [oursMs, bareMs, ratios]: [number[], number[], number[]] = [[], [], []];
    let requests = 0;
    for (let at = -warmUps; at < (rounds[guests] ?? 9); at += 1) {
      const our = await timed(async () => void (await ours.run()));
      const other = await timed(async () => {
        requests = await bare.run(vmids);
      });
      if (at < 0) continue;
      oursMs.push(our);
      bareMs.push(other);
      ratios.push(our / other);
    }
    const proxmoxerMs = median(askByProxmoxer(node, vmids)) * 1_000;
    const heapBytes = await heapOf(ours);
    return {
      bare: { ratio: round(median(ratios), 3), ours_ms: round(median(oursMs), 1), bare_ms: round(median(bareMs), 1) },
      proxmoxer: { ratio: round(median(oursMs) / proxmoxerMs, 3), proxmoxer_ms: round(proxmoxerMs, 1) },
      requests,
      heapBytes,
    };
  } finally {
    await ours.close();
    await bare.close();
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const before = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - before) / 1e6;
}

function askByProxmoxer(node: ManyGuests, vmids: readonly number[]): number[] {
  const { hostname, port } = new URL(node.url);
  const input = JSON.stringify([hostname, Number(port), node.token, node.node, 3, vmids]);
  const end = spawnSync('/usr/bin/python3', [join(import.meta.dirname, 'reconcile/ask-one-by-one.py')], {
    input,
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (end.status !== 0) throw new Error(`proxmoxer: ${end.stderr.slice(-2_000)}`);
  return JSON.parse(end.stdout) as number[];
}

/** Bytes alive on the heap at the end of a pass, with all that it holds, against just before it. */
async function heapOf(ours: OurPass): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const alive = (): number => {
    collect();
    collect();
    return process.memoryUsage().heapUsed;
  };
  let atEnd = 0;
  ours.atEnd = () => {
    atEnd = alive();
  };
  const before = alive();
  await ours.run();
  return atEnd - before;
}
