import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { borrowedEngine } from './borrowed-engine.ts';
import { installHook, labVmid, readServed, writeAgentFiles, writeControllerFile } from './configuration.ts';
import { isRoot, type LabDisk, labsFolder, makeDisk } from './disk.ts';
import { endProcessesOf } from './end-processes.ts';
import { type LabEngine, labEngine } from './engine.ts';
import { claimFolder, sweepDeadLabs } from './leftovers.ts';
import type { LabOptions } from './options.ts';
import { type Background, must, type RunEnd, run, startInBackground } from './process.ts';
import { agentProgram, buildPrograms, controllerProgram, repository, simulatorProgram } from './programs.ts';
import { callNode, readReadyLine, type SimulatorReady } from './simulator.ts';
import { waitUntil } from './wait-until.ts';

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
  /** Writes a stack's files into `srv/NAME` of the guest (a name with `/` at its end: a folder) and starts it. Returns its folder. */
  addStack(name: string, compose: string, files?: Record<string, string>, options?: { wait: boolean }): Promise<string>;
  /** The archives on the storage, oldest first. */
  archives(): Promise<string[]>;
  /** Unpacks an archive (default: the newest) into a folder of the lab; only `paths` of it where given. */
  unpack(options?: { archive?: string; paths?: readonly string[] }): Promise<string>;
  /** `POST /sim/faults` */
  order(fault: Record<string, unknown>): Promise<void>;
  clearFaults(): Promise<void>;
  /** Everything that agent and controllers of this lab have printed so far, for a search for secrets. */
  captured(): Promise<string>;
  close(): Promise<void>;
}

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
    closers.push(async () => await disk.unmount());
    const engine = isRoot() ? labEngine({ folder, dataRoot: disk.dataRoot }) : borrowedEngine(folder);
    closers.push(async () => await engine.destroy());
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

async function furnish(shell: Shell): Promise<Lab> {
  const { folder, disk, engine, options, closers } = shell;
  const host = join(folder, 'host');
  const storage = join(folder, 'bk');
  const logs = join(folder, 'logs');
  for (const needed of [host, storage, logs, join(host, 'guests.d')]) await mkdir(needed, { recursive: true });
  for (const needed of ['etc/felhom', 'var/lib/felhom', 'srv'])
    await mkdir(join(disk.guest, needed), { recursive: true });
  await installHook(host, options);

  let simulator: Background | undefined;
  let agent: Background | undefined;
  let port = '0';
  const programs: Background[] = [];
  closers.push(async () => {
    await Promise.all([...programs, agent, simulator].map(async (each) => await each?.stop(3_000)));
    // Workers of the simulator and guards of the controller outlive them on purpose.
    await endProcessesOf(folder);
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
    close: async () => await shell.close(),
    agent: () => {
      if (agent === undefined) throw new Error('the lab has no agent: startAgent first');
      return agent;
    },
    startSimulator: async () => {
      const args = ['--listen', `127.0.0.1:${port}`, '--state', join(folder, 'pve'), '--node', 'pve1'];
      args.push(
        '--guest',
        `${labVmid}=${disk.guest},name=docker1${options.guest === undefined ? '' : `,${options.guest}`}`,
        '--storage',
        `bk=${storage}`,
        '--vzdump-conf',
        join(host, 'vzdump.conf'),
      );
      const [program, ...first] = simulatorProgram();
      const started = startInBackground(program, [...first, ...args, ...(options.simulator ?? [])], {
        cwd: repository,
        logFile: join(logs, 'simulator.log'),
      });
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
        return await accepts(join(host, 'agent.sock'));
      });
    },
    onHost: async (...args) =>
      await note(logs, 'host', args, await run(agentProgram, [...args, '--config', agentConfig])),
    guestEnvironment: (env = {}) => ({
      PATH: process.env['PATH'] ?? '',
      HOME: '/root',
      DOCKER_HOST: engine.host,
      ...env,
    }),
    inGuest: async (args, env) =>
      await note(
        logs,
        'guest',
        args,
        await run(controllerProgram, [...args, '--config', controllerConfig], {
          env: lab.guestEnvironment(env),
          cwd: '/',
        }),
      ),
    startInGuest: (name, args, env) => {
      const started = startInBackground(controllerProgram, [...args, '--config', controllerConfig], {
        env: lab.guestEnvironment(env),
        cwd: '/',
        logFile: join(logs, `${name}.log`),
      });
      programs.push(started);
      return started;
    },
    addStack: async (name, compose, files = {}, { wait } = { wait: true }) => {
      const project = join(disk.guest, 'srv', name);
      await mkdir(project, { recursive: true });
      await writeFile(join(project, 'compose.yaml'), compose);
      for (const [path, text] of Object.entries(files)) {
        const place = join(project, path);
        if (path.endsWith('/')) {
          // PostgreSQL refuses a data folder that others may read.
          await mkdir(place, { recursive: true, mode: 0o700 });
        } else {
          await mkdir(dirname(place), { recursive: true });
          await writeFile(place, text);
        }
      }
      const up = ['up', '--detach', ...(wait ? ['--wait'] : [])];
      await engine.docker('compose', '--project-name', name, '--project-directory', project, ...up);
      return project;
    },
    archives: async () => {
      const dump = join(storage, 'dump');
      const names = existsSync(dump) ? await readdir(dump) : [];
      return names
        .filter((name) => name.endsWith('.tar.zst'))
        .toSorted()
        .map((name) => join(dump, name));
    },
    unpack: async ({ archive, paths = [] } = {}) => {
      const file = archive ?? (await lab.archives()).at(-1);
      if (file === undefined) throw new Error('there is no archive on the storage');
      const to = await mkdtemp(join(folder, 'unpacked-'));
      await must('tar', ['--extract', '--zstd', '--file', file, '--directory', to, '--numeric-owner', ...paths]);
      return to;
    },
    order: async (fault) => void (await callNode(lab.simulator, 'POST', '/sim/faults', fault)),
    clearFaults: async () => void (await callNode(lab.simulator, 'DELETE', '/sim/faults')),
    captured: async () => {
      // The simulator's first line tells its token on purpose.
      const names = (await readdir(logs)).filter((name) => name !== 'simulator.log');
      const texts = names.map((name) => readFileSync(join(logs, name), 'utf8'));
      return texts.join('\n');
    },
  };

  await lab.startSimulator();
  await writeAgentFiles(lab.simulator, { folder: host, agentConfig, options });
  await lab.startAgent();
  await letIn(lab, options);
  return lab;
}

/** Enrols the guest: its token and the agent's certificate go into the guest's own files. */
async function letIn(lab: Lab, options: LabOptions): Promise<void> {
  const tokenFile = join(lab.guest, 'etc/felhom/token');
  const adopted = await lab.onHost('guest', 'adopt', String(lab.vmid), '--token-out', tokenFile, '--json');
  if (adopted.code !== 0) throw new Error(`guest adopt ended ${adopted.code}:\n${adopted.stdout}${adopted.stderr}`);
  const agent = await waitUntil('the agent says where it listens', async () =>
    readServed(await lab.onHost('status', '--json')),
  );
  await writeControllerFile({ guest: lab.guest, runFolder: join(lab.folder, 'run'), tokenFile, agent, options });
}

async function note(logs: string, name: string, args: readonly string[], end: RunEnd): Promise<RunEnd> {
  appendFileSync(
    join(logs, `${name}.log`),
    `$ ${args.join(' ')}\n${end.stdout}${end.stderr}[${end.signal ?? end.code}]\n`,
  );
  return await Promise.resolve(end);
}

async function accepts(socket: string): Promise<boolean> {
  const connection = createConnection(socket);
  return await new Promise((done) => {
    connection.once('connect', () => done(true)).once('error', () => done(false));
  }).then((answered) => {
    connection.destroy();
    return answered === true;
  });
}
