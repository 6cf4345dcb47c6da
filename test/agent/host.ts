import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import { createAgentClient } from '@felhom/guest-api/client.ts';
import { memoryGeneration } from '@felhom/guest-api/generation.ts';
import { stringify } from 'yaml';
import { type Background, type RunEnd, run, startInBackground } from '../lab/process.ts';
import { agentProgram, buildPrograms } from '../lab/programs.ts';
import { type NodeOptions, openNode, quickBounds, type SimulatedNode, until } from './rig.ts';

/** A host whose agent is a program of its own, so that it can be killed. */
export interface Host {
  node: SimulatedNode;
  folder: string;
  config: string;
  /** Starts `felhom-agent serve` and waits until it answers. */
  serve(): Promise<void>;
  /** kill -9. Resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; answers its exit code. */
  terminate(): Promise<number | null>;
  /** Runs felhom-agent as the host's root would. */
  run(...args: string[]): Promise<RunEnd & { json: Record<string, unknown> }>;
  /** Gives a guest its token, by the program. */
  adopt(vmid: number): Promise<string>;
  client(token: string, options?: { bootId?: string }): Promise<AgentApi>;
  /** Everything that serve printed. */
  log(): string;
  close(): Promise<void>;
}

export async function openHost(
  options: NodeOptions & { bounds?: Record<string, string>; backup?: Record<string, unknown> } = {},
): Promise<Host> {
  await buildPrograms();
  const node = await openNode(options);
  const config = join(node.folder, 'agent.yaml');
  await writeConfig(node, config, options);
  const clients: AgentApi[] = [];
  let agent: Background | undefined;
  const program = async (...args: string[]) => {
    const end = await run(process.execPath, [agentProgram, '--config', config, ...args]);
    const json: Record<string, unknown> = args.includes('--json') && end.stdout !== '' ? JSON.parse(end.stdout) : {};
    return { ...end, json };
  };
  const logFile = join(node.folder, 'serve.log');
  const status = async (): Promise<Record<string, unknown>> => (await program('status', '--json')).json;
  const host: Host = {
    node,
    folder: node.folder,
    config,
    serve: async () => {
      const started = startInBackground(process.execPath, [agentProgram, '--config', config, 'serve'], { logFile });
      agent = started;
      await until('serve answers', async () => {
        if (started.hasEnded()) throw new Error(`serve ended:\n${started.output()}`);
        return (await program('guest', 'list')).code === 0;
      });
    },
    kill: async () => {
      if (agent === undefined) return;
      process.kill(agent.pid, 'SIGKILL');
      await agent.ended;
    },
    terminate: async () => {
      if (agent === undefined) return null;
      process.kill(agent.pid, 'SIGTERM');
      return (await agent.ended).code;
    },
    run: program,
    adopt: async (vmid) => {
      const file = join(node.folder, `token-${vmid}-${clients.length}`);
      const end = await program('guest', 'adopt', String(vmid), '--token-out', file);
      if (end.code !== 0) throw new Error(`${end.stdout}${end.stderr}`);
      const { readFile } = await import('node:fs/promises');
      return (await readFile(file, 'utf8')).trim();
    },
    client: async (token, { bootId = 'boot-1' } = {}) => {
      const { url, fingerprint } = await status();
      const made = createAgentClient({
        agents: [{ url: String(url), fingerprint: String(fingerprint) }],
        token,
        generation: memoryGeneration(),
        bootId,
      });
      clients.push(made);
      return made;
    },
    log: () => agent?.output() ?? '',
    close: async () => {
      await Promise.all(clients.map(async (client) => await client.close()));
      await agent?.stop(3_000);
      await node.close();
    },
  };
  return host;
}

async function writeConfig(
  node: SimulatedNode,
  file: string,
  options: { gate?: 'hook' | 'log'; bounds?: Record<string, string>; backup?: Record<string, unknown> },
): Promise<void> {
  const { folder, sim, socket } = node;
  await writeFile(join(folder, 'pve-token'), sim.token, { mode: 0o600 });
  await mkdir(join(folder, 'guests.d'));
  await writeFile(join(folder, 'guests.d/101.yaml'), stringify({ vmid: 101, name: 'docker101' }));
  const config = {
    listen: '127.0.0.1:0',
    node: sim.node,
    pve: { url: sim.url, token_file: join(folder, 'pve-token'), fingerprint: sim.fingerprint },
    state: join(folder, 'state'),
    socket,
    guests: join(folder, 'guests.d'),
    gate: options.gate ?? 'auto',
    vzdump_conf: join(folder, 'vzdump.conf'),
    preflight: { headroom: '1KiB' },
    defaults: { backup: { storage: 'bk', every: '1d', ...options.backup } },
    bounds: { ...quickBounds, ...options.bounds },
  };
  await writeFile(file, stringify(config));
}
