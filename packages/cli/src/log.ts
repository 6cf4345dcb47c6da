import { writeSync } from 'node:fs';
import { redact } from '@felhom/kernel/redact.ts';
import type { DestinationStream } from 'pino';

export type LogFields = Record<string, unknown>;

/** The diary of a run: what happened inside, for whoever looks for a cause. Results go to the Reporter. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** `journal`: `<6>plain line`; `text`: `01:00:07 info  plain line`; `json`: pino's own lines. */
export type LogForm = 'journal' | 'text' | 'json';

const levelNames: Record<number, string> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' };
/** syslog(3) priorities, which systemd takes from the `<n>` prefix (sd-daemon(3)). */
const priorities: Record<number, number> = { 20: 7, 30: 6, 40: 4, 50: 3 };

export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/**
 * The form that fits where stderr goes: under journald its priorities, for programs JSON, else text.
 * A JOURNAL_STREAM inherited by a person's own shell does not count: that one has a terminal.
 */
export function chooseLogForm({
  env,
  json,
  isTerminal,
}: {
  env: NodeJS.ProcessEnv;
  json: boolean;
  isTerminal: boolean;
}): LogForm {
  if (env['JOURNAL_STREAM'] !== undefined && !isTerminal) return 'journal';
  return json || env['FELHOM_LOG_FORMAT'] === 'json' ? 'json' : 'text';
}

/**
 * Opens the log. pino is loaded here and nowhere else, so that commands that log nothing do not pay
 * for it. It writes synchronously: a line logged before `kill -9` is on its way out. A sink that takes
 * no more lines (closed pipe, full disk) silences the log and nothing else.
 * @param level `debug`, `info`, `warn` or `error`; FELHOM_LOG names it on the command line.
 */
export async function openLog({ form, level = 'info', sink }: OpenLogOptions): Promise<Log> {
  const { pino } = await import('pino');
  const write = sink ?? silencedWrite();
  const destination: DestinationStream = {
    write: (line) => write(form === 'json' ? redact(line) : formatLine(form, redact(line))),
  };
  const logger = pino(
    { level: level in levels ? level : 'info', base: null, messageKey: 'message' },
    sink === undefined && form === 'json' ? jsonDestination(pino.destination) : destination,
  );
  return {
    debug: (message, fields) => logger.debug(clean(fields), redact(message)),
    info: (message, fields) => logger.info(clean(fields), redact(message)),
    warn: (message, fields) => logger.warn(clean(fields), redact(message)),
    error: (message, fields) => logger.error(clean(fields), redact(message)),
  };
}

export interface OpenLogOptions {
  form: LogForm;
  level?: string | undefined;
  /** For tests: takes each finished line instead of descriptor 2. */
  sink?: (line: string) => void;
}

const levels = { debug: 20, info: 30, warn: 40, error: 50 };

/** Redaction at the door: whatever a field holds has passed as text before pino sees it. */
function clean(fields: LogFields | undefined): LogFields {
  if (fields === undefined) return {};
  const plain = Object.entries(fields).map(([key, value]) => [
    key,
    value instanceof Error ? describeError(value) : value,
  ]);
  const text = JSON.stringify(Object.fromEntries(plain), (_key, value: unknown) =>
    value instanceof Error ? describeError(value) : value,
  );
  const parsed: unknown = JSON.parse(redact(text));
  return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
}

function describeError(error: Error): string {
  const cause = error.cause instanceof Error ? `: ${describeError(error.cause)}` : '';
  return `${error.message}${cause}`;
}

function jsonDestination(destination: typeof import('pino').destination): DestinationStream {
  const stream = destination({ fd: 2, sync: true });
  stream.on('error', () => {});
  return stream;
}

function silencedWrite(): (line: string) => void {
  let broken = false;
  return (line) => {
    if (broken) return;
    try {
      writeSync(2, line);
    } catch (error) {
      broken = !(error instanceof Error && 'code' in error && error.code === 'EAGAIN');
    }
  };
}

/** One of pino's JSON lines as a person or the journal reads it: the message, then `key=value`. */
function formatLine(form: LogForm, line: string): string {
  const { level, time, message, ...fields } = JSON.parse(line) as { level: number; time: number; message?: string };
  const rest = Object.entries(fields).map(
    ([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const text = `${message ?? ''}${rest.join('')}`.replaceAll(/[\r\n]+/g, ' ');
  if (form === 'journal') return `<${priorities[level] ?? 6}>${text}\n`;
  return `${new Date(time).toISOString().slice(11, 19)} ${(levelNames[level] ?? 'info').padEnd(5)} ${text}\n`;
}
