import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentProgram, buildPrograms, controllerProgram } from '@felhom/test/lab/programs.ts';
import { median, round } from './median.ts';

/** Rounds that count, after the ones that only fill the disk cache. */
const rounds = 41;
const warmUps = 3;

/** How long one start took, in units of a start of `node -e 0`; the slower of the two programs, and each of them. */
export interface StartupFigure {
  ratio: number;
  /** The bound of the design. */
  limit: number;
  by_program: Record<string, number>;
}

export interface StartupResult {
  schema: 'felhom.bench.startup/1';
  node: string;
  /** Median of a bare `node -e 0`. */
  node_ms: number;
  help: StartupFigure;
  /** With a configuration file. */
  status: StartupFigure;
  /** Without one: it says so and ends 0. */
  status_unconfigured: StartupFigure;
}

type App = 'felhom-agent' | 'felhom-controller';
const programs: Readonly<Record<App, string>> = {
  'felhom-agent': agentProgram,
  'felhom-controller': controllerProgram,
};
const apps = ['felhom-agent', 'felhom-controller'] as const;

interface Start {
  what: 'help' | 'status' | 'status_unconfigured';
  app: App;
  args: readonly string[];
  durationsMs: number[];
  ratios: number[];
}

/**
 * Starts of the built programs against `node -e 0`: interleaved, each paired with the bare start just before it, so
 * that a machine which slows down in between slows both.
 */
export async function measureStartup(): Promise<StartupResult> {
  await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'felhom-bench-'));
  try {
    const starts = (await Promise.all(apps.map((app) => startsOf(app, folder)))).flat();
    const bareMs: number[] = [];
    for (let at = -warmUps; at < rounds; at += 1) measureRound(starts, bareMs, at >= 0);
    return report(starts, bareMs);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function measureRound(starts: readonly Start[], bareMs: number[], counts: boolean): void {
  for (const start of starts) {
    const bare = timeMs(['-e', '0']);
    const ours = timeMs([programs[start.app], ...start.args]);
    if (!counts) continue;
    bareMs.push(bare);
    start.durationsMs.push(ours);
    start.ratios.push(ours / bare);
  }
}

/** One start of node to its end; throws unless it ends 0, because a start that fails early would look fast. */
function timeMs(args: readonly string[]): number {
  // Extra certificates add 28 ms to every start, ours and the bare one: they would flatter the ratio.
  const { NODE_EXTRA_CA_CERTS: _certificates, NODE_OPTIONS: _options, ...env } = process.env;
  const before = process.hrtime.bigint();
  const end = spawnSync(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 });
  const took = Number(process.hrtime.bigint() - before) / 1e6;
  if (end.status !== 0)
    throw new Error(`node ${args.join(' ')} ended ${end.status ?? end.signal}: ${end.stderr.toString()}`);
  return took;
}

async function startsOf(app: App, folder: string): Promise<Start[]> {
  const home = join(folder, app);
  await mkdir(home, { recursive: true });
  const config = join(home, 'config.yaml');
  await writeFile(config, configurations[app](home));
  const start = (what: Start['what'], ...args: string[]): Start => ({ what, app, args, durationsMs: [], ratios: [] });
  return [
    start('help', '--help'),
    start('status', 'status', '--config', config),
    start('status_unconfigured', 'status', '--config', join(home, 'absent.yaml')),
  ];
}

const fingerprint = Array.from({ length: 32 }, () => 'AB').join(':');

const configurations: Readonly<Record<App, (home: string) => string>> = {
  'felhom-agent': (home) => `
pve: { url: "https://127.0.0.1:8006", token_file: ${home}/token, fingerprint: "${fingerprint}" }
state: ${home}/state
socket: ${home}/agent.sock
guests: ${home}/guests.d
`,
  'felhom-controller': (home) => `
agents: [{ url: "https://127.0.0.1:8470", fingerprint: "${fingerprint}" }]
token_file: ${home}/token
state_dir: ${home}/state
run_dir: ${home}/run
`,
};

function report(starts: readonly Start[], bareMs: readonly number[]): StartupResult {
  const figure = (what: Start['what'], limit: number): StartupFigure => {
    const of = starts.filter((start) => start.what === what);
    const ratios = of.map((start) => [start.app, round(median(start.ratios), 3)] as const);
    return { ratio: Math.max(...ratios.map(([, ratio]) => ratio)), limit, by_program: Object.fromEntries(ratios) };
  };
  return {
    schema: 'felhom.bench.startup/1',
    node: process.version,
    node_ms: round(median(bareMs), 1),
    help: figure('help', 1.5),
    status: figure('status', 2.1),
    status_unconfigured: figure('status_unconfigured', 2.1),
  };
}
