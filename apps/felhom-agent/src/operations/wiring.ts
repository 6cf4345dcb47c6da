import { randomBytes } from 'node:crypto';
import type { Log } from '@felhom/cli/log.ts';
import { readSecretFile } from '@felhom/cli/secret-file.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { openJobsIn } from '../backup/open-jobs.ts';
import type { AgentConfig } from '../config.ts';
import { hostBootId, newId } from '../identity.ts';
import { fileLanes } from '../lanes/lanes.ts';
import { openClient } from '../open-client.ts';
import { journalPath, lanesFolder, operationsFile, operationsPath } from '../state-files.ts';
import { archiveReader } from './archives.ts';
import type { Adoption, OperationPorts, OperationPve, OperationStore } from './ports.ts';
import { operationPve } from './pve-port.ts';
import { fileOperationStore } from './store.ts';
import { watchOperations } from './watch.ts';

/** Opens the real ports of operations; `close` ends what they hold. */
export async function openOperations(
  config: AgentConfig,
  { adoption, say }: { adoption: Adoption; say: (line: string) => void },
): Promise<{ ports: OperationPorts; close(): Promise<void> }> {
  const { pve, close } = await openOperationPve(config);
  const lanes = fileLanes(lanesFolder(config.state), 'operation');
  const openJobs = openJobsIn(journalPath(config.state), await hostBootId());
  const ports: OperationPorts = {
    store: openOperationStore(config.state),
    pve,
    lanes: {
      tryGuest: lanes.tryGuest,
      heldBy: async (vmid) => {
        const job = (await openJobs()).get(vmid);
        return job === undefined ? null : `the backup job ${job} of guest ${vmid} is under way`;
      },
    },
    archives: archiveReader(systemCommands),
    adoption,
    clock: systemClock,
    newId,
    say,
    bounds: { lostStartMs: config.bounds.lost_start, giveUpMs: config.bounds.lost_start * 2 + 30_000, everyMs: 500 },
  };
  return { ports, close };
}

export function openOperationStore(stateDir: string): OperationStore {
  return fileOperationStore({
    file: operationsFile(stateDir),
    path: operationsPath(stateDir),
    clock: systemClock,
    newAgentId: () => randomBytes(16).toString('hex'),
  });
}

/** The node as operations see it. Connects nothing yet. */
export async function openOperationPve(config: AgentConfig): Promise<{ pve: OperationPve; close(): Promise<void> }> {
  const client = await openClient(config);
  const token = await readSecretFile(config.pve.token_file, 'the token for Proxmox VE');
  const pve = operationPve(client, { clock: systemClock, tokenUser: token.split('=')[0] ?? '' });
  return { pve, close: async () => await client.close() };
}

const openEveryMs = 30_000;
const quietEveryMs = 3_600_000;

/** Looks after operations for as long as `serve` runs. `idle` resolves once `stop` has ended it. */
export async function startOperationsWatch(
  config: AgentConfig,
  { adoption, log, stop }: { adoption: Adoption; log: Log; stop: AbortSignal },
): Promise<{ idle(): Promise<void> }> {
  const { ports, close } = await openOperations(config, { adoption, say: (line) => log.info(line) });
  const watching = watchOperations(ports, { log, stop, openEveryMs, quietEveryMs });
  return {
    idle: async () => {
      await watching;
      await close();
    },
  };
}
