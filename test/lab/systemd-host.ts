import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type PveSim, startPveSim } from '@felhom/pve-sim/sim.ts';
import { stringify } from 'yaml';
import { must } from './process.ts';
import { agentProgram, buildPrograms, repository } from './programs.ts';
import { makeSystemdContainer, type SystemdContainer } from './systemd-container.ts';

/*
 * The host's own system: the agent's units as the package installs them, at the places that they know, under the agent's
 * own user; beside it a simulated node.
 */

export interface SystemdHost {
  system: SystemdContainer;
  sim: PveSim;
  /** What is declared of guest 101. */
  declare(desired: Record<string, unknown>): Promise<void>;
  close(): Promise<void>;
}

const units = ['felhom-agent.service', 'felhom-agent-reconcile.service'];

/** `dropIn`: settings of the service that a test makes quicker. */
export async function openSystemdHost(options: {
  agent: Record<string, unknown>;
  dropIn: string;
}): Promise<SystemdHost> {
  await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'felhom-host-'));
  const [root, etc] = [join(folder, 'root'), join(folder, 'root/etc/felhom')];
  await mkdir(join(etc, 'guests.d'), { recursive: true });
  const sim = await startPveSim({
    listen: '127.0.0.1:0',
    state: join(folder, 'sim'),
    node: 'pve1',
    guests: [{ vmid: 101, running: false, dir: join(folder, '101') }],
    storages: [],
    authDelayMs: 0,
    spareWorkers: 0,
    warn: () => {},
  });
  await writeFile(join(etc, 'pve-token'), sim.token, { mode: 0o600 });
  await writeFile(
    join(etc, 'agent.yaml'),
    stringify({
      listen: '127.0.0.1:0',
      node: sim.node,
      pve: { url: sim.url, token_file: '/etc/felhom/pve-token', fingerprint: sim.fingerprint },
      ...options.agent,
    }),
  );
  await installAgent(root, options.dropIn);
  const system = await makeSystemdContainer({
    hostname: 'pve1',
    root,
    units,
    enabled: [],
    volumes: [`${dirname(agentProgram)}:/usr/lib/felhom-agent:ro`],
  });
  await system.start();
  await system.mustExec('systemd-sysusers');
  await system.mustExec('chown', 'felhom-agent:', '/etc/felhom/pve-token');
  return {
    system,
    sim,
    declare: async (desired) => {
      const file = join(folder, '101.yaml');
      await writeFile(file, stringify({ vmid: 101, desired }));
      await must('docker', ['cp', file, `${system.name}:/etc/felhom/guests.d/101.yaml`]);
    },
    close: async () => {
      await system.destroy();
      sim.faults.clear();
      await sim.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function installAgent(root: string, dropIn: string): Promise<void> {
  const dropIns = join(root, 'etc/systemd/system/felhom-agent.service.d');
  for (const each of [dropIns, join(root, 'usr/lib/sysusers.d'), join(root, 'usr/bin')])
    await mkdir(each, { recursive: true });
  await must('ln', ['-sfn', '/usr/lib/felhom-agent/felhom-agent.js', join(root, 'usr/bin/felhom-agent')]);
  const users = join(repository, 'packaging/systemd/felhom-agent.sysusers');
  await must('cp', [users, join(root, 'usr/lib/sysusers.d/felhom-agent.conf')]);
  await writeFile(join(dropIns, 'test.conf'), `[Service]\n${dropIn}\n`);
}
