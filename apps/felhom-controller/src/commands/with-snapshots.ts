import type { LoadedConfig } from '../config.ts';
import type { RunEvent, RunPorts } from '../quiesce/ports.ts';
import type { VolumeSnapshots } from '../volume-snapshots/contract.ts';
import { openLocalRun } from '../wiring.ts';
import type { CommandContext } from './context.ts';

/** Works with real ports and closes them. */
export async function withSnapshots<T>(
  context: CommandContext,
  { config, file }: LoadedConfig,
  work: (ports: RunPorts, snapshots: VolumeSnapshots) => Promise<T>,
): Promise<T> {
  const log = await context.openLog();
  const progress = (event: RunEvent): void => {
    const words = wordsOf(event);
    if (event.kind === 'warning') log.warn(words);
    else log.debug(words);
  };
  const opened = await openLocalRun({ config, configFile: file, env: context.env, log, progress });
  try {
    const { openSnapshots } = await import('../volume-snapshots/wiring.ts');
    return await work(opened.ports, openSnapshots(config, opened.engine));
  } finally {
    await opened.close();
  }
}

function wordsOf(event: RunEvent): string {
  if (event.kind === 'timeline') return event.stack === undefined ? event.event : `${event.stack}: ${event.event}`;
  return event.kind === 'job' ? event.status.phase : event.text;
}
