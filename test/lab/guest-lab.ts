import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { loadConfig, locateConfig } from 'felhom-controller/config.ts';
import { openEngineApi } from 'felhom-controller/engine/engine-api.ts';
import type { VolumeSnapshots } from 'felhom-controller/volume-snapshots/contract.ts';
import { openSnapshots } from 'felhom-controller/volume-snapshots/wiring.ts';
import { stringify } from 'yaml';
import { labsFolder } from './disk.ts';
import { endProcessesOf } from './end-processes.ts';
import { type LabEngine, labEngine } from './engine.ts';
import { type FileSystem, type FileSystemKind, makeFileSystem } from './file-system.ts';
import { claimFolder, sweepDeadLabs } from './leftovers.ts';
import { must, type RunEnd, run } from './process.ts';
import { buildPrograms, controllerProgram } from './programs.ts';
import { unmountBelow } from './unmount.ts';

/** A guest without a host: an engine of its own with its data, stacks and snapshots on one file system of a chosen kind. */
export interface GuestLab {
  /** Where that file system is mounted. */
  root: string;
  engine: LabEngine;
  inGuest(...args: string[]): Promise<RunEnd>;
  /** What an upgrade works with, in this process. */
  snapshots: VolumeSnapshots;
  /** Writes a stack's Compose file into `srv/NAME` and starts it. Returns its folder. */
  addStack(name: string, compose: string): Promise<string>;
  close(): Promise<void>;
}

export interface GuestLabOptions {
  kind: FileSystemKind;
  sizeMiB: number;
  images: readonly string[];
}

/** The caller must `close` it, in a `finally`. Needs root. */
export async function openGuestLab({ kind, sizeMiB, images }: GuestLabOptions): Promise<GuestLab> {
  await buildPrograms();
  await mkdir(labsFolder, { recursive: true });
  await sweepDeadLabs(labsFolder);
  const folder = await mkdtemp(join(labsFolder, 'lab-'));
  await claimFolder(folder);
  const disk = await placeOn(kind, sizeMiB, folder);
  const engine = labEngine({ folder, dataRoot: join(disk.path, 'docker') });
  const api = openEngineApi({ socketPath: engine.socket, commands: systemCommands });
  const close = async (): Promise<void> => {
    await api.close();
    await engine.destroy();
    await endProcessesOf(folder);
    await disk.remove();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await engine.start();
    await must('sh', ['-c', 'docker save "$@" | docker -H "$0" load', engine.host, ...images], { boundMs: 300_000 });
    const config = join(disk.path, 'controller.yaml');
    const places = { state_dir: join(disk.path, 'felhom'), run_dir: join(folder, 'run') };
    await writeFile(config, stringify(places), { mode: 0o600 });
    const env = { PATH: process.env['PATH'] ?? '', HOME: '/root', DOCKER_HOST: engine.host };
    const loaded = await loadConfig(locateConfig({ config }, {}));
    return {
      root: disk.path,
      engine,
      snapshots: openSnapshots(loaded.config, api),
      close,
      inGuest: async (...args) =>
        await run(controllerProgram, [...args, '--config', config], { env, cwd: '/', boundMs: 600_000 }),
      addStack: async (name, compose) => {
        const project = join(disk.path, 'srv', name);
        await mkdir(project, { recursive: true });
        await writeFile(join(project, 'compose.yaml'), compose);
        await engine.docker('compose', '-p', name, '--project-directory', project, 'up', '--detach', '--wait');
        return project;
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A machine that is on ext4 needs no loop file for it, which would have every byte twice in memory. */
async function placeOn(kind: FileSystemKind, sizeMiB: number, folder: string): Promise<FileSystem> {
  const own = (await must('findmnt', ['--noheadings', '--output', 'FSTYPE', '--target', folder])).trim();
  if (own !== kind) return await makeFileSystem(kind, sizeMiB, folder);
  const path = join(folder, 'root');
  await mkdir(path);
  return { path, remove: async () => await unmountBelow(folder) };
}
