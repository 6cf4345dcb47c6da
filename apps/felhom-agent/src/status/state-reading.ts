import { parseJournal, recordsOf } from '@felhom/durable/journal-format.ts';
import type { Schema } from '@felhom/durable/schema.ts';
import { bytesOf } from './quick-files.ts';

/** What stands in a file of the state folder, before anybody has looked what it is. */
export type Fields = Record<string, unknown>;

/**
 * The files of a state folder, read without the schemas that a writer needs: fields of another kind than expected count
 * as absent. What cannot be read at all is named in `damaged`, for those who read it properly and tell how (damage.ts).
 */
export interface StateReading {
  /** What a versioned state file holds; empty where there is none, or a damaged one. */
  value(name: string): Fields;
  /** The intact records of a journal. */
  records(name: string): Fields[];
  damaged: ReadonlySet<string>;
}

export function stateReading(stateDir: string): StateReading {
  const damaged = new Set<string>();
  return {
    value: (name) => {
      const bytes = bytesOf(`${stateDir}/${name}`);
      if (bytes === undefined) return {};
      const file = parse(bytes.toString('utf8'));
      if (file['version'] === 1) return fields(file['value']);
      damaged.add(name);
      return {};
    },
    records: (name) => {
      const { stretches, problems } = parseJournal(bytesOf(`${stateDir}/${name}`) ?? Buffer.alloc(0), anyRecord);
      if (problems.length > 0) damaged.add(name);
      return recordsOf(stretches);
    },
    damaged,
  };
}

const anyRecord: Schema<Fields> = {
  safeParse: (value) =>
    isFields(value)
      ? { success: true, data: value }
      : { success: false, error: { issues: [{ message: 'not an object', path: [] }] } },
};

function parse(text: string): Fields {
  try {
    return fields(JSON.parse(text));
  } catch {
    return {}; // Not JSON: without a version, so damaged.
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function fields(value: unknown): Fields {
  return isFields(value) ? value : {};
}

export function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isFields) : [];
}

export function word(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
