import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type ImagesPlace, type LabDisk, labsFolder, makeDisk } from './disk.ts';
import { type LabEngine, labEngine } from './engine.ts';
import { claimFolder, sweepDeadLabs } from './leftovers.ts';
import { type Background, must, type RunEnd, run, startInBackground } from './process.ts';
import { agentProgram, buildPrograms, controllerProgram, hookSource, repository, simulatorSource, tsx } from './programs.ts';
import { waitUntil } from './wait-until.ts';

/** What a lab is made with. Everything has a default that suits most tests. */
export interface LabOptions {
  /** Which gate the agent uses. Default `hook`. */
  gate?: 'hook' | 'log';
  /** Where the engine's images lie: see disk.ts. Default `beside`. */
  images?: ImagesPlace;
  /** Added to the agent's configuration. */
  agent?: Record<string, unknown>;
  /** Added to `bounds` of the agent's configuration. */
  agentBounds?: Record<string, string>;
  /** Added to the controller's configuration. */
  controller?: Record<string, unknown>;
  /** Added to the simulator's command line. */
  simulator?: readonly string[];
  /** Lines added to the hook's policy. */
  hookPolicy?: readonly string[];
}

/** What the simulator says of itself once it is ready. */
export interface SimulatorReady {
  url: string;
  token: string;
  fingerprint: string;
  node: string;
}

/**
 * A host and one guest, whole: simulator, hook, agent, engine, controller, each a process of its own, on files below
 * one folder. Guest 101 (`docker1`), storage `bk`.
 */
export interface Lab {
  folder: string;
  /** The guest's root on this machine. */
  guest: string;
  disk: LabDisk;
  engine: LabEngine;
  simulator: SimulatorReady;
  vmid: number;
  /** The running agent. */
  agent(): Background;
  startAgent(): Promise<void>;
  startSimulator(): Promise<void>;
  stopSimulator(): Promise<void>;
  /** Runs `felhom-agent` as the host's root would. */
  onHost(...args: string[]): Promise<RunEnd>;
  /** Runs `felhom-controller` as the guest's root would. */
  inGuest(args: readonly string[], env?: Record<string, string>): Promise<RunEnd>;
  /** Starts `felhom-controller` and leaves it running; ended with the lab. */
  startInGuest(name: string, args: readonly string[], env?: Record<string, string>): Background;
  /** The environment of a controller in this lab. */
  guestEnvironment(env?: Record<string, string>): NodeJS.ProcessEnv;
  /** Writes a stack's files into `srv/NAME` of the guest and starts it. Returns its folder. */
  addStack(name: string, compose: string, files?: Record<string, string>): Promise<string>;
  /** The archives on the storage, oldest first. */
  archives(): Promise<string[]>;
  /** Unpacks an archive (default: the newest) into a folder of the lab; only `paths` of it where given. */
  unpack(options?: { archive?: string; paths?: readonly string[] }): Promise<string>;
  /** `POST /sim/faults` */
  order(fault: Record<string, unknown>): Promise<void>;
  clearFaults(): Promise<void>;
  /** Everything that any program of this lab has printed so far, for a search for secrets. */
  captured(): Promise<string>;
  close(): Promise<void>;
}

export const labVmid = 101;

/** Makes a lab with everything running. The caller must `close` it, in a `finally` or an `afterEach`. */
export async function openLab(options: LabOptions = {}): Promise<Lab> {
  await buildPrograms();
  await mkdir(labsFolder, { recursive: true });
  await sweepDeadLabs(labsFolder);
  const folder = await mkdtemp(join(labsFolder, 'lab-'));
  await claimFolder(folder);
  const closers: (() => Promise<void>)[] = [async () => await rm(folder, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const disk = await makeDisk(folder, options.images ?? 'beside');
    closers.push(disk.unmount);
    const engine = labEngine({ folder, dataRoot: disk.dataRoot });
    closers.push(engine.destroy);
    await engine.start();
    return await furnish({ folder, disk, engine, options, close, closers });
  } catch (error) {
    await close();
    throw error;
  }
}

interface Shell {
  folder: string;
  disk: LabDisk;
  engine: LabEngine;
  options: LabOptions;
  close(): Promise<void>;
  closers: (() => Promise<void>)[];
}

async function furnish({ folder, disk, engine, options, close, closers }: Shell): Promise<Lab> {
  const host = join(folder, 'host');
  const storage = join(folder, 'bk');
  const logs = join(folder, 'logs');
  for (const needed of [host, storage, logs, join(host, 'guests.d')]) await mkdir(needed, { recursive: true });
  for (const needed of ['etc/felhom', 'var/lib/felhom', 'srv']) await mkdir(join(disk.guest, needed), { recursive: true });
  await installHook(host, options);

  let simulator: Background | undefined;
  let agent: Background | undefined;
  let port = '0';
  const programs: Background[] = [];
  closers.push(async () => {
    await Promise.all([...programs, agent, simulator].map(async (each) => await each?.stop(3_000)));
  });

  const agentConfig = join(host, 'agent.yaml');
  const controllerConfig = join(disk.guest, 'etc/felhom/controller.yaml');

  const lab: Lab = {
    folder,
    guest: disk.guest,
    disk,
    engine,
    simulator: { url: '', token: '', fingerprint: '', node: '' },
    vmid: labVmid,
    close,
    agent: () => {
      if (agent === undefined) throw new Error('the lab has no agent: startAgent first');
      return agent;
    },
    startSimulator: async () => {
      const args = ['--listen', `127.0.0.1:${port}`, '--state', join(folder, 'pve'), '--node', 'pve1'];
      args.push('--guest', `${labVmid}=${disk.guest},name=docker1`, '--storage', `bk=${storage}`, '--vzdump-conf', join(host, 'vzdump.conf'));
      const started = startInBackground(tsx, [simulatorSource, ...args, ...(options.simulator ?? [])], { cwd: repository, logFile: join(logs, 'simulator.log') });
      simulator = started;
      const from = started.output().length;
      lab.simulator = await waitUntil('the simulator is ready', () => readReadyLine(started, from));
      port = new URL(lab.simulator.url).port;
    },
    stopSimulator: async () => await simulator?.stop(),
    startAgent: async () => {
      agent = startInBackground(agentProgram, ['serve', '--config', agentConfig], { logFile: join(logs, 'agent.log') });
      const started = agent;
      await waitUntil('the agent answers on its socket', async () => {
        if (started.hasEnded()) throw new Error(`felhom-agent serve ended:\n${started.output().slice(-3_000)}`);
        return existsSync(join(host, 'agent.sock')) && (await lab.onHost('status')).code !== 10;
      });
    },
    onHost: async (...args) => await note(logs, 'host', args, await run(agentProgram, [...args, '--config', agentConfig])),
    guestEnvironment: (env = {}) => ({ PATH: process.env['PATH'] ?? '', HOME: '/root', DOCKER_HOST: engine.host, ...env }),
    inGuest: async (args, env) =>
      await note(logs, 'guest', args, await run(controllerProgram, [...args, '--config', controllerConfig], { env: lab.guestEnvironment(env), cwd: '/' })),
    startInGuest: (name, args, env) => {
      const started = startInBackground(controllerProgram, [...args, '--config', controllerConfig], {
        env: lab.guestEnvironment(env),
        cwd: '/',
        logFile: join(logs, `${name}.log`),
      });
      programs.push(started);
      return started;
    },
    addStack: async (name, compose, files = {}) => {
      const project = join(disk.guest, 'srv', name);
      await mkdir(project, { recursive: true });
      await writeFile(join(project, 'compose.yaml'), compose);
      for (const [path, text] of Object.entries(files)) {
        await mkdir(join(project, path, '..'), { recursive: true });
        await writeFile(join(project, path), text);
      }
      await engine.docker('compose', '--project-name', name, '--project-directory', project, 'up', '--detach', '--wait');
      return project;
    },
    archives: async () => {
      const dump = join(storage, 'dump');
      const names = existsSync(dump) ? await readdir(dump) : [];
      return names.filter((name) => name.endsWith('.tar.zst')).toSorted().map((name) => join(dump, name));
    },
    unpack: async ({ archive, paths = [] } = {}) => {
      const file = archive ?? (await lab.archives()).at(-1);
      if (file === undefined) throw new Error('there is no archive on the storage');
      const to = await mkdtemp(join(folder, 'unpacked-'));
      await must('tar', ['--extract', '--zstd', '--file', file, '--directory', to, '--numeric-owner', ...paths]);
      return to;
    },
    order: async (fault) => await askSimulator(lab.simulator, 'POST', fault),
    clearFaults: async () => await askSimulator(lab.simulator, 'DELETE'),
    captured: async () => {
      const texts = (await readdir(logs)).map((name) => readFileSync(join(logs, name), 'utf8'));
      return texts.join('\n');
    },
  };

  await lab.startSimulator();
  await writeAgentFiles(lab, { host, agentConfig, options });
  await lab.startAgent();
  await adopt(lab, { controllerConfig, host, options });
  return lab;
}

/** The hook stands beside its policy, as `hook.conf` beside a hook goes before the one in /etc. */
async function installHook(host: string, options: LabOptions): Promise<void> {
  const hook = join(host, 'felhom-vzdump-hook');
  await symlink(hookSource, hook);
  await writeFile(join(host, 'hook.conf'), [`socket=${join(host, 'agent.sock')}`, ...(options.hookPolicy ?? []), ''].join('\n'));
  await writeFile(join(host, 'vzdump.conf'), options.gate === 'log' ? '' : `script: ${hook}\n`);
}

async function writeAgentFiles(lab: Lab, { host, agentConfig, options }: { host: string; agentConfig: string; options: LabOptions }): Promise<void> {
  await writeSecret(join(host, 'pve-token'), lab.simulator.token);
  const config = {
    listen: '127.0.0.1:0',
    node: lab.simulator.node,
    pve: { url: lab.simulator.url, token_file: join(host, 'pve-token'), fingerprint: lab.simulator.fingerprint },
    state: join(host, 'state'),
    socket: join(host, 'agent.sock'),
    guests: join(host, 'guests.d'),
    gate: options.gate ?? 'hook',
    vzdump_conf: join(host, 'vzdump.conf'),
    defaults: { backup: { storage: 'bk', every: '1d' } },
    preflight: { headroom: '1MiB' },
    ...options.agent,
    bounds: { min_interval: '0s', storage_cache: '0s', ...options.agentBounds },
  };
  await writeFile(agentConfig, stringify(config));
  await writeFile(join(host, 'guests.d/101-docker1.yaml'), stringify({ vmid: labVmid, name: 'docker1' }));
}

/** Lets the guest in: its token and the agent's certificate go into the guest's files. */
async function adopt(lab: Lab, { controllerConfig, host, options }: { controllerConfig: string; host: string; options: LabOptions }): Promise<void> {
  const tokenFile = join(lab.guest, 'etc/felhom/token');
  const adopted = await lab.onHost('guest', 'adopt', String(labVmid), '--token-out', tokenFile, '--json');
  if (adopted.code !== 0) throw new Error(`guest adopt ended ${adopted.code}:\n${adopted.stdout}${adopted.stderr}`);
  const served = await waitUntil('the agent says where it listens', async () => readServed(await lab.onHost('status', '--json')));
  const config = {
    agents: [{ url: served.url, fingerprint: served.fingerprint }],
    token_file: tokenFile,
    state: join(lab.guest, 'var/lib/felhom'),
    ...options.controller,
  };
  await writeFile(controllerConfig, stringify(config), { mode: 0o600 });
  await rename(controllerConfig, controllerConfig);
  await chmod(host, 0o700);
}

function readServed(status: RunEnd): { url: string; fingerprint: string } | undefined {
  const said: unknown = status.code === 0 ? JSON.parse(status.stdout) : undefined;
  if (typeof said !== 'object' || said === null || !('url' in said) || !('fingerprint' in said)) return undefined;
  return { url: String(said.url), fingerprint: String(said.fingerprint) };
}

function readReadyLine(started: Background, from: number): SimulatorReady | undefined {
  if (started.hasEnded()) throw new Error(`the simulator ended:\n${started.output().slice(-3_000)}`);
  const line = started.output().slice(from).split('\n').find((text) => text.startsWith('{'));
  if (line === undefined) return undefined;
  const said = JSON.parse(line) as SimulatorReady;
  return said;
}

async function askSimulator(simulator: SimulatorReady, method: string, body?: unknown): Promise<void> {
  const { Agent, request } = await import('undici');
  // The lab made this certificate itself a moment ago; what is tested is the programs' pinning, not ours.
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const answer = await request(`${simulator.url}/sim/faults`, {
      method: method === 'POST' ? 'POST' : 'DELETE',
      dispatcher,
      headers: { authorization: `PVEAPIToken=${simulator.token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`the simulator refused the order: ${answer.statusCode} ${text}`);
  } finally {
    await dispatcher.close();
  }
}

async function writeSecret(path: string, text: string): Promise<void> {
  await writeFile(path, `${text}\n`, { mode: 0o600 });
}

async function note(logs: string, name: string, args: readonly string[], end: RunEnd): Promise<RunEnd> {
  appendFileSync(join(logs, `${name}.log`), `$ ${args.join(' ')}\n${end.stdout}${end.stderr}[${end.signal ?? end.code}]\n`);
  return await Promise.resolve(end);
}
