import { readFile, stat } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Document, LineCounter } from 'yaml';
import type { z } from 'zod';
import { nearestKey } from './nearest-key.ts';
import { formatBytes } from './quantity.ts';
import { knownKeys } from './schema-keys.ts';

type Path = readonly PropertyKey[];

/** A value from a flag or the environment, which goes before what the file says. */
export interface Override {
  /** `['state_dir']` */
  path: readonly string[];
  value: unknown;
  /** `--state-dir` or `FELHOM_STATE_DIR`, for errors. */
  from: string;
}

export interface ConfigSource<S extends z.ZodType> {
  /** The file's text, or undefined where there is no file. */
  text: string | undefined;
  /** Its name, for errors. */
  file: string;
  schema: S;
  /** Weakest first: environment, then flags. */
  overrides?: readonly Override[];
  /** What to type to see the documentation: `felhom-controller config schema`. */
  hint: string;
  /** The line of the file in which `text` begins, where it is a part of one. Default 1. */
  firstLine?: number;
}

/** A configuration is written by hand: what is longer is not one, and is not worth the memory and the minutes it would take. */
const maxBytes = 2 ** 20;
/** Mistakes told of one file. */
const maxMistakes = 20;

/**
 * A file's text, or undefined when it does not exist.
 * @throws Failure `config_invalid` when it exists and cannot be read, is longer than `limitBytes` (default 1 MiB), or is not UTF-8.
 */
export async function readConfigText(file: string, limitBytes = maxBytes): Promise<string | undefined> {
  try {
    const found = await stat(file);
    if (!found.isFile()) throw unusable(file, 'it is not a file');
    if (found.size > limitBytes) throw tooLong(file, found.size, limitBytes);
    const bytes = await readFile(file);
    if (bytes.length > limitBytes) throw tooLong(file, bytes.length, limitBytes);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    if (cause instanceof TypeError) throw unusable(file, 'it is not UTF-8 text', cause);
    throw unusable(file, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function unusable(file: string, why: string, cause?: unknown): Failure {
  return new Failure('config_invalid', {
    message: `the configuration ${file} cannot be read: ${why}`,
    hint: `Check that ${file} is a file and that you may read it.`,
    ...(cause === undefined ? {} : { cause }),
  });
}

function tooLong(file: string, bytes: number, limitBytes: number): Failure {
  return new Failure('config_invalid', {
    message: `${file}: it is ${formatBytes(bytes)} long, and at most ${formatBytes(limitBytes)} are read`,
    hint: 'Take out what is not configuration.',
  });
}

/**
 * Parses YAML by `schema`. Flags go before the environment, which goes before the file.
 * @throws Failure `config_invalid` with every mistake as `file:line:column: key: what is wrong`; an
 *   unknown key names the nearest known one.
 */
export async function parseConfig<S extends z.ZodType>(source: ConfigSource<S>): Promise<z.output<S>> {
  const { value, locate } = await readYaml(source);
  const merged = applyOverrides(value, source.overrides ?? []);
  const parsed = source.schema.safeParse(merged);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, maxMistakes + 1);
  const problems = issues.flatMap((issue) => describeIssue(issue, source, locate));
  throw invalid(problems, source);
}

function invalid(found: readonly string[], source: { hint: string }): Failure {
  const problems = [...new Set(found)];
  const [only] = problems;
  const told = problems.slice(0, maxMistakes);
  const message =
    problems.length === 1 && only !== undefined
      ? only
      : `${told.length < problems.length ? 'more than ' : ''}${told.length} mistakes in the configuration\n${told.join('\n')}`;
  return new Failure('config_invalid', { message, hint: source.hint });
}

type Locate = (path: Path, key?: string) => string;

/** The document as plain values, and a way from a path to `file:line:column`. yaml is loaded only where there is text. */
async function readYaml(source: {
  text: string | undefined;
  file: string;
  hint: string;
  firstLine?: number;
}): Promise<{ value: unknown; locate: Locate }> {
  const { text, file, firstLine = 1 } = source;
  if (text === undefined || text.trim() === '') return { value: {}, locate: () => file };
  const yaml = await import('yaml');
  const lines = new yaml.LineCounter();
  const at = (offset: number): string => place(file, lines, offset, firstLine);
  try {
    // yaml compares every key of a mapping with every other: a minute for a hostile file. Told apart by a set instead.
    const document = yaml.parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
    const mistakes = [
      ...document.errors.map(({ pos, message }) => ({ offset: pos[0], message })),
      ...repeated(yaml, document),
    ];
    if (mistakes.length > 0)
      throw invalid(
        mistakes.slice(0, 50 * maxMistakes).map(({ offset, message }) => `${at(offset)}: ${inWords(message)}`),
        source,
      );
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    return { value: value ?? {}, locate: (path, key) => locateIn(yaml, document, { path, key, at }) };
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    // A bomb of aliases, or brackets nested deeper than the stack: neither is a configuration.
    const why = cause instanceof Error ? cause.message : String(cause);
    throw invalid([`${file}: it cannot be taken apart: ${why}`], source);
  }
}

/** yaml tells of a stack that ran out as of a mistake in the text. */
function inWords(message: string): string {
  return /call stack/.test(message) ? 'it is nested too deep to be a configuration' : message;
}

type Yaml = typeof import('yaml');

/** Keys that stand twice in one mapping: the second one. */
function repeated({ isScalar, visit }: Yaml, document: Document): { offset: number; message: string }[] {
  const found: { offset: number; message: string }[] = [];
  visit(document, {
    Map: (_, map) => {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value))
          found.push({ offset: key.range?.[0] ?? 0, message: `${String(key.value)}: it stands here twice` });
        seen.add(key.value);
      }
    },
  });
  return found;
}

function locateIn(
  { isMap, isScalar }: Yaml,
  document: Document,
  { path, key, at }: { path: Path; key: string | undefined; at: (offset: number) => string },
): string {
  if (key !== undefined) {
    const holder = path.length === 0 ? document.contents : document.getIn([...path], true);
    const pair = isMap(holder)
      ? holder.items.find((item) => isScalar(item.key) && String(item.key.value) === key)
      : undefined;
    if (isScalar(pair?.key) && pair.key.range) return at(pair.key.range[0]);
  }
  return at(deepestOffset(document, path));
}

/** Where the nearest existing ancestor of `path` stands: a missing key has no place of its own. */
function deepestOffset(document: Document, path: Path): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const node: unknown = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range))
      return Number(node.range[0]);
  }
  return 0;
}

function place(file: string, lines: LineCounter, offset: number, firstLine: number): string {
  const { line, col } = lines.linePos(offset);
  return line === 0 ? file : `${file}:${line + firstLine - 1}:${col}`;
}

function applyOverrides(value: unknown, overrides: readonly Override[]): unknown {
  let root = value;
  for (const { path, value: wanted } of overrides) root = withValue(root, path, wanted);
  return root;
}

function withValue(holder: unknown, [key, ...rest]: readonly string[], wanted: unknown): unknown {
  if (key === undefined) return wanted;
  const fields: Record<string, unknown> =
    typeof holder === 'object' && holder !== null && !Array.isArray(holder) ? { ...holder } : {};
  fields[key] = withValue(fields[key], rest, wanted);
  return fields;
}

function describeIssue<S extends z.ZodType>(
  issue: z.core.$ZodIssue,
  source: ConfigSource<S>,
  locate: Locate,
): string[] {
  const name = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, maxMistakes + 1).map((key) => {
      const near = nearestKey(key, knownKeys(source.schema, issue.path));
      const known = near === undefined ? '' : `, did you mean ${[...issue.path.map(String), near].join('.')}?`;
      return `${locate(issue.path, key)}: ${name === '' ? key : `${name}.${key}`}: unknown key${known}`;
    });
  }
  const override = source.overrides?.findLast((each) => each.path.join('.') === name);
  const where = override === undefined ? locate(issue.path) : override.from;
  const what = issue.message.replace(/^Invalid input: /, '').replace(/, received undefined$/, ', but it is missing');
  return [`${where}: ${name === '' ? what : `${name}: ${what}`}`];
}
