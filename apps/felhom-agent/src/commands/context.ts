import type { Log } from '@felhom/cli/log.ts';
import type { Reporter } from '@felhom/cli/reporter.ts';

/** What every command is handed. */
export interface CommandContext {
  reporter: Reporter;
  flags: { config: string | undefined };
  env: NodeJS.ProcessEnv;
  /** The exit code of a command that ends neither 0 nor by a Failure. */
  setExit: (code: number) => void;
  openLog: () => Promise<Log>;
}
