import type { Log } from '@felhom/cli/log.ts';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import type { LoadedConfig } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import type { RunEvent } from '../quiesce/ports.ts';
import type { RecoverEnd } from '../quiesce/recover.ts';
import { openRecover } from '../wiring.ts';
import type { CommandContext } from './context.ts';

export interface Settling {
  context: CommandContext;
  loaded: LoadedConfig;
  log: Log;
  stop: AbortSignal;
  agent: AgentApi;
  forgive: string | null;
}

/** Settles what an earlier run left behind, with real ports. Closes what it opens; the agent is the caller's. */
export async function settleDebts({ context, loaded, log, stop, agent, forgive }: Settling): Promise<RecoverEnd> {
  const progress = (event: RunEvent): void => {
    if (event.kind === 'warning') log.warn(event.text);
    else if (event.kind === 'timeline') log.info(event.event, event.stack === undefined ? {} : { stack: event.stack });
    else if (event.kind === 'note') log.info(event.text);
  };
  const { config, file } = loaded;
  const opened = await openRecover({ config, configFile: file, env: context.env, log, progress, agent });
  try {
    const { recover } = await import('../quiesce/recover.ts');
    return await recover(opened.ports, { bounds: quiesceBounds(config.bounds), forgive, stop });
  } finally {
    await opened.close();
  }
}
