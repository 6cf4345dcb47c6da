import type { Log } from '@felhom/cli/log.ts';
import type { Reporter } from '@felhom/cli/reporter.ts';
import type { ConfigFlags } from '../config.ts';

/** What every command is handed: where to print, and what was chosen before its own options. */
export interface CommandContext {
  reporter: Reporter;
  flags: ConfigFlags;
  env: NodeJS.ProcessEnv;
  /** For commands that end neither 0 nor by a Failure. */
  setExit: (code: number) => void;
  /** Opens the log on stderr, in the form that fits. Loads pino. */
  openLog: () => Promise<Log>;
}
