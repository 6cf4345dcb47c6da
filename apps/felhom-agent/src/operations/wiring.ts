import { randomBytes } from 'node:crypto';
import type { Log } from '@felhom/cli/log.ts';
import { readSecretFile } from '@felhom/cli/secret-file.ts';
import { readJournal } from '@felhom/durable/journal.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { openJobsIn } from '../backup/open-jobs.ts';
import type { AgentConfig } from '../config.ts';
import { hostBootId, newId } from '../identity.ts';
import { fileLanes } from '../lanes/lanes.ts';
import { openClient } from '../open-client.ts';
import { actionRecord, entriesOf } from '../reconcile/action-record.ts';
import { describeRecorded } from '../reconcile/describe-action.ts';
import { actionsPath, journalPath, lanesFolder, operationsFile, operationsPath } from '../state-files.ts';
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
        if (job !== undefined) return `the backup job ${job} of guest ${vmid} is under way`;
        return await unknownActionOf(config.state, vmid);
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

/**
 * An entry that reconcile left open: its call may still arrive, so nothing else is done to the guest. What cannot be read
 * may be such an entry, of any guest.
 */
async function unknownActionOf(stateDir: string, vmid: number): Promise<string | null> {
  const path = actionsPath(stateDir);
  const { records, problems } = await readJournal({ path, schema: actionRecord });
  const open = entriesOf(records).find(({ intent, end }) => end === null && intent.vmid === vmid);
  if (open !== undefined)
    return `what became of an action of reconcile on guest ${vmid} (${describeRecorded(open.intent.action)}, ${open.intent.id}) is not known yet: felhom-agent recover`;
  const [problem] = problems;
  return problem === undefined
    ? null
    : `what reconcile did cannot be read as a whole (${path}: ${problem}), and an action on guest ${vmid} may stand there: felhom-agent recover puts it aside`;
}

const lookEveryMs = 30_000;
const markEveryMs = 3_600_000;

/** Looks after operations for as long as `serve` runs. `idle` resolves once `stop` has ended it. */
export async function startOperationsWatch(
  config: AgentConfig,
  { adoption, log, stop }: { adoption: Adoption; log: Log; stop: AbortSignal },
): Promise<{ idle(): Promise<void> }> {
  const { ports, close } = await openOperations(config, { adoption, say: (line) => log.info(line) });
  const watching = watchOperations(ports, { log, stop, lookEveryMs, markEveryMs });
  return {
    idle: async () => {
      await watching;
      await close();
    },
  };
}
