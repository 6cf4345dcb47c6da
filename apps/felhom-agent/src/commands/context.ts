import type { BaseContext } from '@felhom/cli/base-context.ts';

/** What every command is handed. */
export interface CommandContext extends BaseContext {
  flags: { config: string | undefined };
}
