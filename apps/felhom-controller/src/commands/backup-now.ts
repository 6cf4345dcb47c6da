import { watchSignals } from '@felhom/cli/signals.ts';
import { loadExistingConfig, locateConfig } from '../config.ts';
import type { CommandContext } from './context.ts';
import { runOneBackup } from './run-backup.ts';

/** `backup now` */
export async function backupNow(
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
      wait,
    });
    setExit(end.exit);
  } finally {
    signals.dispose();
  }
}
