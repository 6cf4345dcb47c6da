import * as fc from 'fast-check';

/**
 * Any valid value of every managed field, as a person writes it in a guest's file. Memory stays between
 * bounds that a guest which runs survives; everything else takes its whole range, ends included.
 */
const label = fc.stringMatching(/^[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?$/);
const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,15}$/);
const edges = (low: number, high: number): fc.Arbitrary<number> =>
  fc.oneof(fc.constantFrom(low, low + 1, high - 1, high), fc.integer({ min: low, max: high }));

/** Text as people and programs put it into notes: line ends of any kind and number, blanks, markup, any script. */
const piece = fc.oneof(
  fc.constantFrom(
    '\n',
    '\n\n',
    '\r\n',
    ' ',
    '\t',
    '#',
    '# head',
    ':',
    'key: value',
    '%',
    '%0A',
    '<b>',
    '"',
    "'",
    '\\',
    '[snap]',
    '\u00a0',
    '\u0085',
    '\ufeff',
    '\u2028',
    '🚀',
    'é',
    '日本',
    '\u0001',
    '\u001b',
  ),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 6 }),
);
export const description = fc
  .array(piece, { maxLength: 12 })
  .map((pieces) => pieces.join('').replaceAll('\u0000', ''))
  .filter((text) => !/^0\s*$/.test(text) && !/\p{Surrogate}/u.test(text));

const duration = (seconds: number): string => `${seconds}s`;
const startup = fc.record(
  { order: edges(0, 999_999_999), up: edges(0, 86_400).map(duration), down: edges(0, 86_400).map(duration) },
  { requiredKeys: [] },
);

export type DeclaredFields = Readonly<Record<string, unknown>>;

export interface FieldBounds {
  kind: 'lxc' | 'qemu';
  /** MiB that the guest always keeps. */
  memoryFrom: number;
  memoryTo: number;
  /** CPUs that it is always left, where it is limited. Default 0.01. */
  cpulimitFrom?: number;
}

/** Some of the fields, each with a valid value for a guest of this kind. */
export function anyFields({
  kind,
  memoryFrom,
  memoryTo,
  cpulimitFrom = 0.01,
}: FieldBounds): fc.Arbitrary<DeclaredFields> {
  const isContainer = kind === 'lxc';
  const fields: Record<string, fc.Arbitrary<unknown>> = {
    cores: isContainer ? fc.oneof(fc.constant('all'), edges(1, 8192)) : edges(1, 512),
    memory: edges(memoryFrom, memoryTo).map((mebibytes) => `${mebibytes}MiB`),
    ...(isContainer
      ? {
          swap: fc.oneof(
            fc.constant(0),
            edges(0, 65_536).map((mebibytes) => `${mebibytes}MiB`),
          ),
        }
      : {}),
    cpulimit: fc
      .oneof(fc.constant(0), edges(cpulimitFrom * 1000, (isContainer ? 8192 : 128) * 1000))
      .map((milli) => milli / 1000),
    cpuunits: isContainer ? edges(0, 500_000) : edges(1, 262_144),
    hostname: fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.')),
    tags: fc.array(tag, { maxLength: 6 }),
    onboot: fc.boolean(),
    startup,
    protection: fc.boolean(),
    description,
  };
  return fc.record(fields, { requiredKeys: [] });
}
