import type { PveFault } from './errors.ts';

/** The parts of an answer by which its fault is told. */
export interface FaultyAnswer {
  status: number;
  /** The reason phrase, in which PVE puts the first line of its error text (AnyEvent.pm:306). */
  reason: string;
  contentType: string;
  /** The body's `message` (http-server 5.2.0 and later; ends in a newline) and `errors`, where it is JSON. */
  message?: string | undefined;
  errors?: Readonly<Record<string, string>> | undefined;
  bodyIsHtml: boolean;
}

/** The fault and its one-line text of an answer that is not a success. */
export function classifyAnswer(answer: FaultyAnswer): { fault: PveFault; text: string } {
  const text = answerText(answer);
  const { status } = answer;
  if (status === 401) return { fault: { kind: 'auth' }, text };
  if (status >= 595 && status <= 599)
    return { fault: proxyFault(text), text: `${text} (pvedaemon did not answer, ${status})` };
  if (status >= 502 && status <= 504)
    return { fault: { kind: 'transport', outcome: 'unknown' }, text: `${status} ${text}` };
  if (status < 400) return { fault: { kind: 'misbehaves' }, text: `unexpected status ${status} ${text}` };
  if (answer.bodyIsHtml)
    return { fault: { kind: 'misbehaves' }, text: `status ${status} with an HTML page instead of JSON` };
  if (status === 403) return { fault: { kind: 'permission' }, text };
  if (status === 400)
    return { fault: parameterFault(answer.errors ?? {}), text: withErrors(text, answer.errors ?? {}) };
  if (status === 501) return { fault: { kind: 'not-implemented' }, text };
  return { fault: classifyText(text), text };
}

/** The body's message wins over the reason phrase: it is not cut at a proxy's limit. One line in every case. */
function answerText({ status, reason, message }: FaultyAnswer): string {
  return firstLine(message ?? '') || firstLine(reason) || `status ${status}`;
}

/** 595 "Connection refused": pvedaemon does not run, so nothing happened. Everything else may have. */
function proxyFault(text: string): PveFault {
  return { kind: 'transport', outcome: /connection refused/i.test(text) ? 'not-sent' : 'unknown' };
}

/** A task that never was is reported as a wrong parameter (Tasks.pm: `errors.upid = no such task`). */
function parameterFault(errors: Readonly<Record<string, string>>): PveFault {
  if (errors['upid'] !== undefined && /no such task/.test(errors['upid'])) return { kind: 'not-found' };
  const trimmed = Object.fromEntries(Object.entries(errors).map(([name, text]) => [name, text.trim()]));
  return { kind: 'parameter', errors: trimmed };
}

function withErrors(text: string, errors: Readonly<Record<string, string>>): string {
  const list = Object.entries(errors).map(([name, why]) => `${name}: ${firstLine(why)}`);
  return list.length === 0 ? text : `${text} (${list.join('; ')})`;
}

const texts: readonly (readonly [RegExp, (match: RegExpExecArray) => PveFault])[] = [
  [/\b(?:CT|VM)(?: \d+)? is locked \(([^)]+)\)/, (match) => ({ kind: 'locked', lock: match[1] ?? '' })],
  [/detected modified configuration/, () => ({ kind: 'stale-digest' })],
  [/can't lock file '.*' - got timeout/, () => ({ kind: 'lock-timeout' })],
  [/\b(?:CT|VM) \d+ already running/, () => ({ kind: 'already-running' })],
  [/\b(?:CT|VM) \d+ not running/, () => ({ kind: 'not-running' })],
  [/Configuration file '.*' does not exist/, () => ({ kind: 'not-found' })],
  [/\b(?:storage|pool|volume) '[^']*' does not exist|no such (?:task|volume|storage)/, () => ({ kind: 'not-found' })],
  [
    /(?:unable to|could not) activate storage|storage '.*' is (?:not online|not available|disabled)|storage is not online/,
    () => ({ kind: 'storage-inactive' }),
  ],
  [/volume_size_info on '.*' failed/, () => ({ kind: 'not-found' })],
  [/^hostname lookup '.*' failed|no such cluster node/, () => ({ kind: 'not-found' })],
];

/** The fault that a text of PVE's means, in an HTTP 500 as well as in a task's exit status. */
export function classifyText(text: string): PveFault {
  for (const [pattern, fault] of texts) {
    const match = pattern.exec(text);
    if (match !== null) return fault(match);
  }
  return { kind: 'failed' };
}

/** The first line that says something, trimmed, control characters as blanks: it goes to terminals and logs. */
export function firstLine(text: string): string {
  const line = text.split(/[\r\n]+/).find((candidate) => candidate.trim() !== '') ?? '';
  return line.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
}
