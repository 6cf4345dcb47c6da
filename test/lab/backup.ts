import type { RunResult } from 'felhom-controller/quiesce/result.ts';
import { listContainers, startTimeOf } from './engine-look.ts';
import type { Lab } from './lab.ts';
import type { Background, RunEnd } from './process.ts';
import { waitUntil } from './wait-until.ts';

/** How a `backup now --json` ended. */
export interface BackupEnd {
  code: number | null;
  result: RunResult;
}

/** Runs `felhom-controller backup now --json` to its end. */
export async function backUp(lab: Lab, env?: Record<string, string>): Promise<BackupEnd> {
  const end = await lab.inGuest(['backup', 'now', '--json'], env);
  return { code: end.code, result: parseResult(end) };
}

/** A `backup now --json` under way. */
export interface BackupUnderWay {
  controller: Background;
  finished: Promise<BackupEnd>;
}

export function startBackup(lab: Lab, env?: Record<string, string>): BackupUnderWay {
  started += 1;
  const controller = lab.startInGuest(`backup-${started}`, ['backup', 'now', '--json'], env);
  const finished = controller.ended.then(({ code }) => {
    return { code, result: parseResult({ code, stdout: lastObject(controller.output()), stderr: '' }) };
  });
  // A test that fails before it looks must not also end the run by an unhandled rejection.
  finished.catch(() => undefined);
  return { controller, finished };
}
let started = 0;

function parseResult({ code, stdout, stderr }: Pick<RunEnd, 'code' | 'stdout' | 'stderr'>): RunResult {
  try {
    const result: RunResult = JSON.parse(stdout);
    return result;
  } catch (cause) {
    throw new Error(`backup now --json ended ${code} without JSON:\n${stdout}\n${stderr}`, { cause });
  }
}

/** The JSON object in an output that also holds log lines. */
function lastObject(output: string): string {
  return (
    output.split('\n').findLast((line) => line.startsWith('{"schema":"felhom.backup/')) ??
    output.slice(output.indexOf('{\n'))
  );
}

/** Names of the containers that run, in any project. */
export async function runningContainers(lab: Lab): Promise<string[]> {
  const found = await listContainers(lab.engine.socket, { all: false });
  return found.map(({ name }) => name).toSorted();
}

/** `StartedAt` by name, of containers that run, in the order of their names. */
export async function startTimes(lab: Lab): Promise<Record<string, string>> {
  const { socket } = lab.engine;
  const found = (await listContainers(socket, { all: false })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const times = found.map(async ({ id, name }) => [name, await startTimeOf(socket, id)]);
  return Object.fromEntries(await Promise.all(times));
}

/** What docker says of every container, running or not, by name. */
export async function containerStates(lab: Lab): Promise<Record<string, string>> {
  const found = await listContainers(lab.engine.socket, { all: true });
  return Object.fromEntries(found.map(({ name, state }) => [name, state]));
}

/** Waits until none of `names` runs. */
export async function waitUntilDown(lab: Lab, names: readonly string[], boundMs = 30_000): Promise<void> {
  await waitUntil(
    `${names.join(', ')} are down`,
    async () => {
      const up = await runningContainers(lab);
      return names.every((name) => !up.includes(name));
    },
    { boundMs },
  );
}

/** Waits until all of `names` run. */
export async function waitUntilUp(lab: Lab, names: readonly string[], boundMs = 60_000): Promise<void> {
  await waitUntil(
    `${names.join(', ')} run`,
    async () => {
      const up = await runningContainers(lab);
      return names.every((name) => up.includes(name));
    },
    { boundMs },
  );
}
