import { readJournal } from '@felhom/durable/journal.ts';
import { jobRecord } from '../backup/job.ts';
import { actionRecord } from '../reconcile/action-record.ts';
import {
  actionsPath,
  alertsFile,
  guestsFile,
  journalPath,
  lastPassFile,
  operationsFile,
  servingFile,
} from '../state-files.ts';

/** What is wrong with a file of the state folder, in the words of those who read it properly. */
export async function damageOf(stateDir: string, name: string): Promise<{ message: string; hint: string }[]> {
  if (name === 'journal.jsonl') {
    const { problems } = await readJournal({ path: journalPath(stateDir), schema: jobRecord });
    return problems.map((message) => ({
      message: `journal.jsonl: ${message}`,
      hint: 'Look at the disk of the host: dmesg',
    }));
  }
  if (name === 'actions.jsonl') {
    const { problems } = await readJournal({ path: actionsPath(stateDir), schema: actionRecord });
    return problems.map((message) => ({
      message: `actions.jsonl: ${message}`,
      hint: 'Look at the disk of the host: dmesg',
    }));
  }
  const files = {
    'reconcile.json': lastPassFile,
    'guests.json': guestsFile,
    'alerts.json': alertsFile,
    'serving.json': servingFile,
    'operations.json': operationsFile,
  };
  const open = Object.entries(files).find(([file]) => file === name)?.[1];
  const read = await open?.(stateDir).read();
  if (read?.kind === 'newer') {
    return [
      {
        message: `${name} was written by a newer version (${read.version})`,
        hint: 'Install that version of felhom-agent again.',
      },
    ];
  }
  if (read?.kind !== 'unreadable') return [];
  return [
    {
      message: `${name} cannot be read: ${read.reason}`,
      hint: `Look at ${stateDir}/${name}; the disk of the host: dmesg`,
    },
  ];
}
