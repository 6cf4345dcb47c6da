import type { Failure } from '@felhom/kernel/failure.ts';
import { descriptorOutput, type Output } from './output.ts';

/** What `--json` prints: one object, whose schema names its shape and version. */
export interface JsonDocument {
  schema: `felhom.${string}/${number}`;
}

/**
 * The one place that knows whether a person or a program reads. A command hands over both forms
 * of its result and never asks which was printed.
 */
export interface Reporter {
  /** The result of the command, on stdout; a command that goes on for ever has one line of JSON for each. `text` is made only when it is wanted. */
  result<D extends JsonDocument>(document: D, text: (document: D) => string): void;
  /** One line for a person while the command runs, on stderr; nothing with `--json`. */
  say(line: string): void;
  /** The end of a command that failed: words and a hint on stderr, or the error object on stdout (`document`, where a command has its own). */
  failure(failure: Failure, document?: JsonDocument): void;
  /** Whether a person looks at a terminal right now: progress is drawn then, and only then. */
  readonly interactive: boolean;
  /** Where `say` and progress go. */
  readonly display: Output;
}

export interface ReporterOptions {
  json: boolean;
  stdout?: Output;
  stderr?: Output;
  /** Whether stderr goes to the journal, which takes priorities from its lines. Default: JOURNAL_STREAM says so. */
  journal?: boolean;
}

/** Text or JSON, decided here once. A result that was printed is not followed by a second object. */
export function createReporter({
  json,
  stdout = descriptorOutput(1),
  stderr = descriptorOutput(2),
  journal = process.env['JOURNAL_STREAM'] !== undefined,
}: ReporterOptions): Reporter {
  let printed = false;
  const tell = (priority: number, text: string): void =>
    stderr.write(journal && !stderr.isTerminal ? withPriority(priority, text) : text);
  return {
    get interactive() {
      return !json && stderr.isTerminal;
    },
    display: stderr,
    result: (document, text) => {
      printed = true;
      stdout.write(json ? `${JSON.stringify(document)}\n` : endLine(text(document)));
    },
    say: (line) => {
      if (!json) tell(5, endLine(line));
    },
    failure: (failure, document) => {
      if (!json) return tell(3, failureText(failure));
      if (printed) return;
      printed = true;
      stdout.write(`${JSON.stringify(document ?? { schema: 'felhom.error/1', error: failure })}\n`);
    },
  };
}

/** `error: what happened` and, indented below it, what to type next. */
export function failureText(failure: Failure): string {
  const hint = failure.hint
    .split('\n')
    .map((line) => `  ${line}\n`)
    .join('');
  return `error: ${failure.message}\n${hint}`;
}

/** Every line with its syslog priority, as systemd takes it from a stream (sd-daemon(3)). */
function withPriority(priority: number, text: string): string {
  return text.replaceAll(/^(?=.)/gm, `<${priority}>`);
}

function endLine(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}
