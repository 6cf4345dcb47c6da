import { readFile } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import type { Document, LineCounter } from 'yaml';
import type { z } from 'zod';
import { nearestKey } from './nearest-key.ts';
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
}

/**
 * A file's text, or undefined when it does not exist.
 * @throws Failure `config_invalid` when it exists and cannot be read.
 */
export async function readConfigText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new Failure('config_invalid', {
      message: `the configuration cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: `Check that ${file} is a file and that you may read it.`,
      cause,
    });
  }
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
  const problems = parsed.error.issues.flatMap((issue) => describeIssue(issue, source, locate));
  throw invalid(problems, source);
}

function invalid(problems: readonly string[], source: { hint: string }): Failure {
  const [only] = problems;
  const message =
    problems.length === 1 && only !== undefined
      ? only
      : `${problems.length} mistakes in the configuration\n${problems.join('\n')}`;
  return new Failure('config_invalid', { message, hint: source.hint });
}

type Locate = (path: Path, key?: string) => string;

/** The document as plain values, and a way from a path to `file:line:column`. yaml is loaded only where there is text. */
async function readYaml(source: {
  text: string | undefined;
  file: string;
  hint: string;
}): Promise<{ value: unknown; locate: Locate }> {
  const { text, file } = source;
  if (text === undefined || text.trim() === '') return { value: {}, locate: () => file };
  const { LineCounter, isMap, isScalar, parseDocument } = await import('yaml');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw invalid(
      document.errors.map((error) => `${place(file, lines, error.pos[0])}: ${error.message}`),
      source,
    );
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  const locate: Locate = (path, key) => {
    if (key !== undefined) {
      const holder = path.length === 0 ? document.contents : document.getIn([...path], true);
      const pair = isMap(holder)
        ? holder.items.find((item) => isScalar(item.key) && String(item.key.value) === key)
        : undefined;
      if (isScalar(pair?.key) && pair.key.range) return place(file, lines, pair.key.range[0]);
    }
    return place(file, lines, deepestOffset(document, path));
  };
  return { value: value ?? {}, locate };
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

function place(file: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return line === 0 ? file : `${file}:${line}:${col}`;
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
    return issue.keys.map((key) => {
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
