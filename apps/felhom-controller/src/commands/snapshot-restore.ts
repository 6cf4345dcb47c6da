import { watchSignals } from '@felhom/cli/signals.ts';
import { loadConfig, locateConfig } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import type { CommandContext } from './context.ts';
import { withSnapshots } from './with-snapshots.ts';

/** `snapshot restore STACK [ID] [--files]` */
export async function snapshotRestore(
  context: CommandContext,
  stack: string,
  { id, files }: { id: string | null; files: boolean },
): Promise<void> {
  const { reporter, flags, env } = context;
  const loaded = await loadConfig(locateConfig(flags, env));
  const signals = watchSignals({ onRepeat: () => reporter.say('What was begun is brought to its end first.') });
  try {
    const restored = await withSnapshots(context, loaded, async (ports, snapshots) => {
      const { restoreRun } = await import('../volume-snapshots/restore-run.ts');
      return await restoreRun(ports, snapshots, {
        stack,
        id,
        files,
        bounds: quiesceBounds(loaded.config.bounds),
        stop: signals.stop,
      });
    });
    reporter.result({ schema: 'felhom.snapshot-restore/1', stack, ...restored, error: null }, () =>
      [
        `${stack}: its data is that of snapshot ${restored.id} again`,
        ...restored.sources.map((name) => `  put back           ${name}`),
        ...restored.files.map((path) => `  put back           ${path}`),
        ...restored.notes.map((note) => `  note               ${note}`),
        `  It is still down. Start it: docker compose -p ${stack} start`,
      ].join('\n'),
    );
  } finally {
    signals.dispose();
  }
}
