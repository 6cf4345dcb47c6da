import type { Log } from '@felhom/cli/log.ts';
import { createProgress, type Progress } from '@felhom/cli/progress.ts';
import { formatBytes } from '@felhom/cli/quantity.ts';
import type { SignalWatch } from '@felhom/cli/signals.ts';
import type { DueAnswer, JobStatus } from '@felhom/guest-api/schema.ts';
import { type LoadedConfig, quiescePolicy } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import type { BackupEnd } from '../quiesce/cycle.ts';
import type { RunEvent } from '../quiesce/ports.ts';
import { openRun } from '../wiring.ts';
import { summaryText } from './backup-summary.ts';
import type { CommandContext } from './context.ts';

export interface OneBackup {
  loaded: LoadedConfig;
  log: Log;
  signals: SignalWatch;
  storage: string | null;
  /** A job that the agent has offered; null: ask for one. */
  jobId: string | null;
  /** Nobody asked for it but the agent's `due`. */
  onlyIfDue: boolean;
  wait: boolean;
  /** The guest by its names, where somebody has asked already. */
  guest?: DueAnswer['guest'] | undefined;
}

/** One run from end to end: progress while it lasts, its summary after. Prints; answers how it ended. */
export async function runOneBackup(context: CommandContext, one: OneBackup): Promise<BackupEnd> {
  const { reporter, env } = context;
  const { config, file } = one.loaded;
  const progress = createProgress(reporter.display, {
    interactive: reporter.interactive,
    gone: one.signals.displayGone,
  });
  const show = (event: RunEvent): void => showEvent(event, { progress, log: one.log, context });
  const opened = await openRun({ config, configFile: file, env, log: one.log, progress: show });
  const asked = new AbortController();
  try {
    // Only for the first line of the summary; whoever waits for the run does not wait for this.
    const guest =
      one.guest === undefined
        ? opened.agent.due({ signal: asked.signal }).then((due) => due.guest)
        : Promise.resolve(one.guest);
    const name = guest.catch(() => null);
    const { runBackup } = await import('../quiesce/cycle.ts');
    const end = await runBackup(opened.ports, {
      policy: quiescePolicy(config),
      bounds: quiesceBounds(config.bounds),
      storage: one.storage,
      jobId: one.jobId,
      onlyIfDue: one.onlyIfDue,
      wait: one.wait,
      stop: one.signals.stop,
      wantedGrade: config.grade,
    });
    asked.abort();
    progress.end();
    const known = await name;
    reporter.result(end.result, () => summaryText(end.result, known));
    if (end.failure !== null) reporter.failure(end.failure);
    return end;
  } finally {
    progress.end();
    await opened.close();
  }
}

interface Shown {
  progress: Progress;
  log: Log;
  context: CommandContext;
}

/** What a person watches goes to the terminal; where there is none, warnings go to the log, and a journal gets it all. */
function showEvent(event: RunEvent, { progress, log, context: { reporter, env } }: Shown): void {
  const words = wordsOf(event);
  if (reporter.interactive) {
    if (event.kind === 'warning') progress.above(() => reporter.say(`warning: ${event.text}`));
    else progress.show(words);
    return;
  }
  if (event.kind === 'warning') log.warn(event.text);
  else if (event.kind === 'timeline' && env['JOURNAL_STREAM'] !== undefined) log.info(words);
  else log.debug(words);
}

function wordsOf(event: RunEvent): string {
  if (event.kind === 'timeline') return event.stack === undefined ? event.event : `${event.stack}: ${event.event}`;
  return event.kind === 'job' ? jobWords(event.status) : event.text;
}

/** A job's state in one line. */
export function jobWords(status: JobStatus): string {
  const words: Record<JobStatus['phase'], string> = {
    queued: 'waiting for the host: another backup runs, or its turn has not come',
    ready: 'the host is ready',
    capturing: 'the host takes the snapshot',
    snapshotted: 'the snapshot is taken; the host writes the archive',
    done: 'the backup is done',
    failed: 'the backup failed',
    cancelled: 'the backup was cancelled',
  };
  const written = status.progress === null ? '' : `, ${Math.floor(status.progress)} %`;
  const size = status.size_bytes === null ? '' : ` of ${formatBytes(status.size_bytes)}`;
  return `${words[status.phase]}${status.phase === 'snapshotted' ? `${written}${written === '' ? '' : size}` : ''}`;
}
