import { join } from 'node:path';
import { stateFile } from '@felhom/durable/state-file.ts';
import { z } from 'zod';
import { type OperationsFile, operationsSchema, operationsVersion } from './operations/record.ts';
import { type LastPass, lastPassSchema, lastPassVersion } from './reconcile/last-pass.ts';
import { type AlertsFile, alertsSchema, alertsVersion } from './serve/alerts.ts';
import { type GuestsFile, guestsSchema, guestsVersion } from './serve/guests-state.ts';

/** Where each piece of the agent's state lies, for those who write it and those who only look. */
export function journalPath(stateDir: string): string {
  return join(stateDir, 'journal.jsonl');
}

/** What reconcile did and is doing; several processes write it. */
export function actionsPath(stateDir: string): string {
  return join(stateDir, 'actions.jsonl');
}

export function lastPassFile(stateDir: string) {
  return stateFile<LastPass>({
    path: join(stateDir, 'reconcile.json'),
    version: lastPassVersion,
    schema: lastPassSchema,
  });
}

export function lanesFolder(stateDir: string): string {
  return join(stateDir, 'lanes');
}

export function operationsPath(stateDir: string): string {
  return join(stateDir, 'operations.json');
}

/** Who this agent is to those who sign, and what it did of what they signed. */
export function operationsFile(stateDir: string) {
  return stateFile<OperationsFile>({
    path: operationsPath(stateDir),
    version: operationsVersion,
    schema: operationsSchema,
  });
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

/** Where serve listens, or listened last: with port 0 in the configuration the same port is taken again. */
export const servingSchema = z.object({
  url: z.string(),
  port: z.number().int(),
  fingerprint: z.string(),
  node: z.string(),
});
export type ServingFile = z.infer<typeof servingSchema>;

export function servingFile(stateDir: string) {
  return stateFile<ServingFile>({ path: join(stateDir, 'serving.json'), version: 1, schema: servingSchema });
}
