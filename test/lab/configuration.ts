import { once } from 'node:events';
import { symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { LabOptions } from './options.ts';
import type { RunEnd } from './process.ts';
import { hookSource } from './programs.ts';
import type { SimulatorReady } from './simulator.ts';

export const labVmid = 101;

/** Where the host's files lie. */
export interface HostFiles {
  folder: string;
  agentConfig: string;
  options: LabOptions;
}

/** The hook stands beside its policy, as `hook.conf` beside a hook goes before the one in /etc. */
export async function installHook(host: string, options: LabOptions): Promise<void> {
  const hook = join(host, 'felhom-vzdump-hook');
  await symlink(hookSource, hook);
  await writeFile(
    join(host, 'hook.conf'),
    [`socket=${join(host, 'agent.sock')}`, ...(options.hookPolicy ?? []), ''].join('\n'),
  );
  await writeFile(join(host, 'vzdump.conf'), options.gate === 'log' ? '' : `script: ${hook}\n`);
}

/** The agent's configuration, its token, and one file for the guest. */
export async function writeAgentFiles(
  simulator: SimulatorReady,
  { folder: host, agentConfig, options }: HostFiles,
): Promise<void> {
  await writeSecret(join(host, 'pve-token'), simulator.token);
  const config = {
    listen: `127.0.0.1:${await freePort()}`,
    node: simulator.node,
    pve: { url: simulator.url, token_file: join(host, 'pve-token'), fingerprint: simulator.fingerprint },
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

/** Where a controller finds its agent, and its own files. */
export interface GuestFiles {
  guest: string;
  runFolder: string;
  tokenFile: string;
  agent: { url: string; fingerprint: string };
  options: LabOptions;
}

/** Writes the controller's configuration into the guest; returns its path. */
export async function writeControllerFile({
  guest,
  runFolder,
  tokenFile,
  agent,
  options,
}: GuestFiles): Promise<string> {
  const file = join(guest, 'etc/felhom/controller.yaml');
  const config = {
    agents: [agent],
    token_file: tokenFile,
    state_dir: join(guest, 'var/lib/felhom'),
    run_dir: runFolder,
    ...options.controller,
  };
  await writeFile(file, stringify(config), { mode: 0o600 });
  return file;
}

/** Where the agent listens and how its certificate is recognised, from its own `status --json`. */
export function readServed(status: RunEnd): { url: string; fingerprint: string } | undefined {
  const said: unknown = status.code === 0 ? JSON.parse(status.stdout) : undefined;
  if (typeof said !== 'object' || said === null || !('url' in said) || !('fingerprint' in said)) return undefined;
  return { url: String(said.url), fingerprint: String(said.fingerprint) };
}

async function writeSecret(path: string, text: string): Promise<void> {
  await writeFile(path, `${text}\n`, { mode: 0o600 });
}

/** A port that nobody has: an agent that is restarted must listen where its guests look for it. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a listening server has no port');
  return address.port;
}
