import type { Failure } from '@felhom/kernel/failure.ts';
import { type Command, CommanderError } from 'commander';
import { descriptorOutput, type Output } from './output.ts';
import { createReporter } from './reporter.ts';

export interface MainOptions {
  /** As typed, without node and script. */
  argv: readonly string[];
  /** The program, whose actions call `setExit` where they end neither 0 nor by a Failure. */
  build: (setExit: (code: number) => void) => Command;
  stdout?: Output;
  stderr?: Output;
}

/**
 * Runs a command line to its exit code: the one switch that turns errors into words. Usage errors
 * are 2, a Failure is its row's code, anything else thrown is a bug of ours (1). `pnpm run x -- …`
 * passes a leading `--` through: it is dropped.
 */
export async function runMain({ argv, build, ...outputs }: MainOptions): Promise<number> {
  const words = argv[0] === '--' ? argv.slice(1) : [...argv];
  const json = asksForJson(words);
  const { stdout = descriptorOutput(1), stderr = descriptorOutput(2) } = outputs;
  const reporter = createReporter({ json, stdout, stderr });
  let exit = 0;
  const program = build((code) => {
    exit = code;
  });
  prepare(program, { stdout, stderr: json ? silent : stderr });
  try {
    await program.parseAsync([...words], { from: 'user' });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = await failureOf(error, program, words);
    reporter.failure(failure);
    if (failure.code === 'bug' && process.env['FELHOM_LOG'] === 'debug') reporter.say(stackOf(failure.cause));
    return failure.exit;
  }
}

/** Whether `--json` stands among the options: what follows a lone `--` is no option. */
function asksForJson(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end === -1 ? words : words.slice(0, end)).includes('--json');
}

const helpColumns = 100;
const silent: Output = { write: () => {}, isTerminal: false, columns: helpColumns };

/** Every command throws instead of exiting, prints through us, and leaves the printing of errors to us. */
function prepare(command: Command, outputs: { stdout: Output; stderr: Output }): void {
  command.exitOverride();
  command.configureOutput({
    outputError: () => {},
    writeOut: (text) => outputs.stdout.write(text),
    // The help of a group that was named without a command.
    writeErr: (text) => outputs.stderr.write(text),
    // A fixed width: Node's own stream, which knows the terminal's, costs more than the rest of --help.
    getOutHelpWidth: () => helpColumns,
    getErrHelpWidth: () => helpColumns,
    getOutHasColors: () => false,
  });
  for (const child of command.commands) prepare(child, outputs);
}

/** Anything thrown, as a Failure. The table is loaded here: a command that ends well can do without. */
async function failureOf(error: unknown, program: Command, words: readonly string[]): Promise<Failure> {
  const { asFailure, Failure } = await import('@felhom/kernel/failure.ts');
  if (!(error instanceof CommanderError)) return asFailure(error);
  const help = `${commandPath(program, words)} --help`;
  if (error.code === 'commander.help')
    return new Failure('usage', { message: 'a command is missing', hint: `Usage: ${help}` });
  const [message = 'wrong usage', ...suggestion] = error.message.replace(/^error: /, '').split('\n');
  const hint = [...suggestion.map((line) => line.replace(/^\((.*)\)$/, '$1')), `Usage: ${help}`].join('\n');
  return new Failure('usage', { message, hint });
}

/** `felhom-controller backup now` for words that begin like it. */
function commandPath(program: Command, words: readonly string[]): string {
  const path = [program.name()];
  let at = program;
  for (const word of words.filter((each) => !each.startsWith('-'))) {
    const next = at.commands.find((child) => child.name() === word || child.aliases().includes(word));
    if (next === undefined) break;
    path.push(next.name());
    at = next;
  }
  return path.join(' ');
}

function stackOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
