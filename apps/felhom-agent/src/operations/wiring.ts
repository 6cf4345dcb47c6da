import { randomBytes } from 'node:crypto';
import { readSecretFile } from '@felhom/cli/secret-file.ts';
import { readJournal } from '@felhom/durable/journal.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { isOpen, jobRecord, replay } from '../backup/job.ts';
import type { AgentConfig } from '../config.ts';
import { fileLanes } from '../lanes/lanes.ts';
import { openClient } from '../open-client.ts';
import { journalPath, lanesFolder, operationsPath } from '../state-files.ts';
import { archiveReader } from './archives.ts';
import type { Adoption, OperationPorts, OperationPve, OperationStore } from './ports.ts';
import { operationPve } from './pve-port.ts';
import { fileOperationStore } from './store.ts';

/** Opens the real ports of operations; `close` ends what they hold. */
export async function openOperations(
  config: AgentConfig,
  { adoption, say }: { adoption: Adoption; say: (line: string) => void },
): Promise<{ ports: OperationPorts; close(): Promise<void> }> {
  const { pve, close } = await openOperationPve(config);
  const lanes = fileLanes(lanesFolder(config.state), 'operation');
  const ports: OperationPorts = {
    store: openOperationStore(config.state),
    pve,
    lanes: { tryGuest: lanes.tryGuest, heldBy: async (vmid) => await openBackupJob(config.state, vmid) },
    archives: archiveReader(systemCommands),
    adoption,
    clock: systemClock,
    // Time first, so that ids sort by age.
    newId: () => `op-${Date.now().toString(36)}-${randomBytes(6).toString('hex')}`,
    say,
    bounds: { lostStartMs: config.bounds.lost_start, giveUpMs: config.bounds.lost_start * 2 + 30_000, everyMs: 500 },
  };
  return { ports, close };
}

export function openOperationStore(stateDir: string): OperationStore {
  return fileOperationStore({
    path: operationsPath(stateDir),
    clock: systemClock,
    newAgentId: () => randomBytes(16).toString('hex'),
  });
}

/** The node as operations see it. Connects nothing yet. */
export async function openOperationPve(config: AgentConfig): Promise<{ pve: OperationPve; close(): Promise<void> }> {
  const token = await readSecretFile(config.pve.token_file, 'the token for Proxmox VE');
  const client = await openClient(config);
  const pve = operationPve(client, { clock: systemClock, tokenUser: token.split('=')[0] ?? '' });
  return { pve, close: async () => await client.close() };
}

/** From `ready` to its end a job of the journal holds the lane, also while no process does. */
async function openBackupJob(stateDir: string, vmid: number): Promise<string | null> {
  const { records } = await readJournal({ path: journalPath(stateDir), schema: jobRecord });
  const job = [...replay(records).values()].find(
    (each) => each.vmid === vmid && isOpen(each) && each.phase !== 'queued',
  );
  return job === undefined ? null : `the backup job ${job.job_id} of guest ${vmid} is under way`;
}
