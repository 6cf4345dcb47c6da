import type { Command } from 'commander';
import type { Log } from './log.ts';
import type { Output } from './output.ts';
import { createReporter, type Reporter } from './reporter.ts';

/** What a program is built with; all but `setExit` are for tests. */
export interface ProgramOptions {
  setExit: (code: number) => void;
  env?: NodeJS.ProcessEnv;
  stdout?: Output;
  stderr?: Output;
}

/** What every command of either program is handed: where to print, and how to end. */
export interface BaseContext {
  reporter: Reporter;
  env: NodeJS.ProcessEnv;
  /** The exit code of a command that ends neither 0 nor by a Failure. */
  setExit: (code: number) => void;
  /** Opens the log on stderr, in the form that fits. Loads pino. */
  openLog: () => Promise<Log>;
}

export function baseContext({ setExit, env = process.env, ...outputs }: ProgramOptions, json: boolean): BaseContext {
  const reporter = createReporter({ json, ...outputs });
  return {
    reporter,
    env,
    setExit,
    openLog: async () => {
      const { chooseLogForm, openLog } = await import('./log.ts');
      const form = chooseLogForm({ env, json, isTerminal: reporter.display.isTerminal });
      return await openLog({ form, level: env['FELHOM_LOG'] });
    },
  };
}

/** Lets the help of every command name the options of the program too. Called once all commands are there. */
export function showGlobalOptions(command: Command): void {
  command.configureHelp({ showGlobalOptions: true });
  for (const child of command.commands) showGlobalOptions(child);
}
