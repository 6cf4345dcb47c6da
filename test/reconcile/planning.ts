import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryOutput } from '@felhom/cli/output.ts';
import { runMain } from '@felhom/cli/run-main.ts';
import { createPveClient, type PveClient } from '@felhom/proxmox/client.ts';
import { noDelays } from '@felhom/pve-sim/delays.ts';
import type { GuestSpec } from '@felhom/pve-sim/options.ts';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { buildProgram } from 'felhom-agent/program.ts';
import { stringify } from 'yaml';

/** A host with an agent that is run command by command in this process, over a simulated node. */
export interface Planning {
  folder: string;
  sim: PveSim;
  pve: PveClient;
  /** Writes a file of guests.d; undefined removes it. */
  declare(name: string, content: string | Record<string, unknown> | undefined): Promise<void>;
  run(...args: string[]): Promise<Ran>;
  close(): Promise<void>;
}

export interface Ran {
  exit: number;
  stdout: string;
  stderr: string;
  json: Record<string, unknown>;
}

export async function openPlanning(
  guests: readonly Partial<GuestSpec>[] = [{ vmid: 101 }, { vmid: 201, kind: 'qemu' }],
): Promise<Planning> {
  const folder = await mkdtemp(join(tmpdir(), 'felhom-plan-'));
  await mkdir(join(folder, 'guest'));
  const sim = await startPveSim({
    listen: '127.0.0.1:0',
    state: join(folder, 'sim'),
    node: 'pve1',
    guests: guests.map((guest) => ({ vmid: 101, dir: join(folder, 'guest'), ...guest })),
    storages: [],
    authDelayMs: 0,
    delays: noDelays,
    warn: () => {},
  });
  const { url, token, fingerprint } = sim;
  const pve = createPveClient({ url, token, node: sim.node, tls: { kind: 'fingerprint', fingerprint } });
  const config = join(folder, 'agent.yaml');
  await writeFile(join(folder, 'pve-token'), token, { mode: 0o600 });
  await mkdir(join(folder, 'guests.d'));
  await writeFile(
    config,
    stringify({
      node: sim.node,
      pve: { url, token_file: join(folder, 'pve-token'), fingerprint },
      state: join(folder, 'state'),
      socket: join(folder, 'agent.sock'),
      guests: join(folder, 'guests.d'),
    }),
  );
  return {
    folder,
    sim,
    pve,
    declare: async (name, content) => {
      const file = join(folder, 'guests.d', name);
      if (content === undefined) await rm(file);
      else await writeFile(file, typeof content === 'string' ? content : stringify(content));
    },
    run: async (...args) => {
      const [stdout, stderr] = [memoryOutput(), memoryOutput()];
      const build = (setExit: (code: number) => void) => buildProgram({ setExit, env: {}, stdout, stderr });
      const exit = await runMain({ argv: ['--config', config, ...args], build, stdout, stderr });
      const clean = (text: string): string => text.replaceAll(folder, '/F');
      const json: Record<string, unknown> =
        args.includes('--json') && stdout.text() !== '' ? JSON.parse(stdout.text()) : {};
      return { exit, stdout: clean(stdout.text()), stderr: clean(stderr.text()), json };
    },
    close: async () => {
      await pve.close();
      await sim.stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
