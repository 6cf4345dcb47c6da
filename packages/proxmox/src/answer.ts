import { z } from 'zod';
import { classifyAnswer, firstLine } from './classify.ts';
import { PveError } from './errors.ts';
import type { WholeAnswer } from './exchange.ts';
import type { PveAnswer } from './http.ts';
import { wireNumber } from './wire.ts';

export interface AnswerReading<T> {
  /** The call, for error texts. */
  call: string;
  schema: z.ZodType<T>;
}

const envelope = z.object({ data: z.unknown(), total: wireNumber.nullish() });
const errorBody = z.object({
  message: z.string().optional(),
  errors: z.record(z.string(), z.coerce.string()).optional(),
});

/** The answer's data, checked against the schema. Throws PveError for everything that is not a success of PVE's own. */
export function readAnswer<T>(
  { status, reason, contentType, date, body }: WholeAnswer,
  { call, schema }: AnswerReading<T>,
): PveAnswer<T> {
  const json = parseJson(body);
  if (status !== 200) {
    const said = errorBody.safeParse(json).data ?? {};
    const { fault, text } = classifyAnswer({
      status,
      reason,
      contentType,
      ...said,
      bodyIsHtml: isHtml(contentType, body),
    });
    throw new PveError({ fault, call, text, status });
  }
  const misbehaves = (text: string, cause?: unknown): PveError =>
    new PveError({ fault: { kind: 'misbehaves' }, call, text, status, ...(cause === undefined ? {} : { cause }) });
  if (isHtml(contentType, body)) throw misbehaves('an HTML page instead of JSON');
  const outer = envelope.safeParse(json);
  if (json === undefined || !outer.success) throw misbehaves(`the answer is not JSON of Proxmox VE: ${excerpt(body)}`);
  const data = schema.safeParse(outer.data.data);
  if (!data.success)
    throw misbehaves(
      `the answer has another shape than expected: ${firstLine(z.prettifyError(data.error))}`,
      data.error,
    );
  return { data: data.data, total: outer.data.total ?? null, serverMs: parseDate(date) };
}

function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    // What is not JSON is judged by the caller: an empty body is right for some statuses.
    return undefined;
  }
}

function isHtml(contentType: string, body: string): boolean {
  return /^text\/html/i.test(contentType) || /^\s*<(?:!doctype|html)/i.test(body);
}

function parseDate(text: string): number | null {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
}

/** The beginning of a foreign answer, for the error's text. */
function excerpt(body: string): string {
  const line = firstLine(body);
  return line === '' ? 'an empty body' : JSON.stringify(line.length > 80 ? `${line.slice(0, 80)}…` : line);
}
