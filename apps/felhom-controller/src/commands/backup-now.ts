import { watchSignals } from '@felhom/cli/signals.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { loadExistingConfig, locateConfig } from '../config.ts';
import type { RunResult } from '../quiesce/result.ts';
import type { CommandContext } from './context.ts';
import { runOneBackup } from './run-backup.ts';

/** `backup now` */
export async function backupNow(
  context: CommandContext,
  { wait, storage }: { wait: boolean; storage: string | null },
): Promise<void> {
  try {
    await takeBackup(context, { wait, storage });
  } catch (error) {
    const failure = asFailure(error);
    // A defect is told with all that is known of it, by whoever tells defects.
    if (failure.code === 'bug') throw failure;
    const told = withState(failure);
    context.reporter.failure(told, abortedResult(told));
    context.setExit(told.exit);
  }
}

/** What `--json` prints where no run came about: the shape of every other result. */
function abortedResult(
  failure: Failure,
): Omit<RunResult, 'run_id' | 'started_at'> & { run_id: null; started_at: null } {
  return {
    schema: 'felhom.backup/1',
    run_id: null,
    job_id: null,
    outcome: 'aborted',
    grade: null,
    grade_reason: null,
    mode: null,
    gate: null,
    target: { storage: null, type: null },
    volid: null,
    size_bytes: null,
    started_at: null,
    duration_ms: 0,
    downtime_ms: null,
    stacks: [],
    kept_running: [],
    excluded: [],
    timeline: [],
    owed: [],
    warnings: [],
    error: failure.toJSON(),
  };
}

/** What is thrown comes from before there was a run: whoever reads it asks first how the apps are. */
function withState(failure: Failure): Failure {
  if (/nothing was (?:stopped|started)/i.test(failure.message)) return failure;
  const [first = '', ...more] = failure.message.split('\n');
  const message = [`${first}; nothing was stopped, the apps are as they were`, ...more].join('\n');
  return new Failure(failure.code, { message, hint: failure.hint, cause: failure });
}

async function takeBackup(
  context: CommandContext,
  { wait, storage }: { wait: boolean; storage: string | null },
): Promise<void> {
  const { reporter, flags, env, setExit } = context;
  const loaded = await loadExistingConfig(locateConfig(flags, env));
  const signals = watchSignals({ onRepeat: () => reporter.say('The apps come back first; this cannot be hurried.') });
  try {
    const end = await runOneBackup(context, {
      loaded,
      log: await context.openLog(),
      signals,
      storage,
      jobId: null,
      onlyIfDue: false,
      wait,
    });
    setExit(end.exit);
  } finally {
    signals.dispose();
  }
}
