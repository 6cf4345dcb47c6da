import { readJournal } from '@felhom/durable/journal.ts';
import { jobRecord } from '../backup/job.ts';
import { keptDocumentFile } from '../desired/kept-document.ts';
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

interface Damage {
  message: string;
  hint: string;
}

const files = {
  'reconcile.json': lastPassFile,
  'guests.json': guestsFile,
  'alerts.json': alertsFile,
  'serving.json': servingFile,
  'operations.json': operationsFile,
  'declared.json': keptDocumentFile,
};

/** What is wrong with a file of the state folder, in the words of those who read it properly. */
export async function damageOf(stateDir: string, name: string): Promise<Damage[]> {
  if (name === 'journal.jsonl')
    return journalDamage(name, await readJournal({ path: journalPath(stateDir), schema: jobRecord }));
  if (name === 'actions.jsonl')
    return journalDamage(name, await readJournal({ path: actionsPath(stateDir), schema: actionRecord }));
  const open = Object.entries(files).find(([file]) => file === name)?.[1];
  const read = await open?.(stateDir).read();
  if (read?.kind === 'newer') {
    const message = `${name} was written by a newer version (${read.version})`;
    return [{ message, hint: 'Install that version of felhom-agent again.' }];
  }
  if (read?.kind !== 'unreadable') return [];
  const hint = `Look at ${stateDir}/${name}; the disk of the host: dmesg`;
  return [{ message: `${name} cannot be read: ${read.reason}`, hint }];
}

function journalDamage(name: string, { problems }: { problems: readonly string[] }): Damage[] {
  return problems.map((problem) => ({ message: `${name}: ${problem}`, hint: 'Look at the disk of the host: dmesg' }));
}
