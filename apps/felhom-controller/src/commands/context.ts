import type { BaseContext } from '@felhom/cli/base-context.ts';
import type { ConfigFlags } from '../config.ts';

/** What every command is handed: where to print, and what was chosen before its own options. */
export interface CommandContext extends BaseContext {
  flags: ConfigFlags;
}
