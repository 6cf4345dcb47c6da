import { join } from 'node:path';
import { stateFile } from '@felhom/durable/state-file.ts';
import { type AlertsFile, alertsSchema, alertsVersion } from './serve/alerts.ts';
import { type GuestsFile, guestsSchema, guestsVersion } from './serve/guests-state.ts';

/** Where each piece of the agent's state lies, for those who write it and those who only look. */
export function journalPath(stateDir: string): string {
  return join(stateDir, 'journal.jsonl');
}

export function serveLockPath(stateDir: string): string {
  return join(stateDir, 'serve.lock');
}

export function guestsFile(stateDir: string) {
  return stateFile<GuestsFile>({ path: join(stateDir, 'guests.json'), version: guestsVersion, schema: guestsSchema });
}

export function alertsFile(stateDir: string) {
  return stateFile<AlertsFile>({ path: join(stateDir, 'alerts.json'), version: alertsVersion, schema: alertsSchema });
}
