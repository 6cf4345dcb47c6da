import { watchSignals } from '@felhom/cli/signals.ts';
import { loadConfig } from '../load-config.ts';
import type { CommandContext } from './context.ts';

/** Serves until SIGTERM or Ctrl-C. Jobs under way stay in the journal; the next start takes them up. */
export async function serveCommand(context: CommandContext): Promise<void> {
  const signals = watchSignals();
  const loaded = await loadConfig(context.flags.config, { ask: true });
  const log = await context.openLog();
  const { startAgent } = await import('../wiring.ts');
  const agent = await startAgent(loaded, {
    log,
    onFatal: (failure) => {
      log.error(failure.message);
      process.exit(failure.exit);
    },
  });
  const { url, fingerprint } = agent.serving;
  log.info(`serving ${url}, certificate ${fingerprint}, socket ${loaded.config.socket}`);
  context.reporter.result(
    { schema: 'felhom.serve/1', url, fingerprint, socket: loaded.config.socket, node: agent.app.pve.node } as const,
    () => `serving ${url}\ncertificate ${fingerprint}\n`,
  );
  const alive = agent.notifier.keepAlive(() => agent.reconcile?.isAlive() ?? true, signals.stop);
  await agent.notifier.ready();
  await new Promise<void>((resolve) => {
    if (signals.stop.aborted) resolve();
    signals.stop.addEventListener('abort', () => resolve(), { once: true });
  });
  log.info('stopping; jobs under way are taken up by the next start');
  await agent.notifier.stopping();
  await agent.stop();
  await alive;
}
